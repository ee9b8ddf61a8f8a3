"use strict";
// Draws a device's telemetry with uPlot, and again whenever the service says that something changed.
(() => {
  const LIMIT = 180;
  const READ = {
    fps: (w) => w.fps,
    latency: (w) => (w.latency_ms && w.latency_ms.total ? w.latency_ms.total.p95 : null),
    power: (w) => (w.power ? w.power.total_w : null),
    confidence: (w) => w.confidence_mean,
  };
  // A silence is a gap, not a line: where two windows lie apart, an empty moment goes between them.
  const withGaps = (windows) => windows.flatMap((w, at) => {
    const before = windows[at - 1];
    const silent = before && w.started_at - before.ended_at > 2 * (w.ended_at - w.started_at);
    return silent ? [{ ended_at: before.ended_at + 0.001 }, w] : [w];
  });
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function options(width) {
    const clock = (_u, splits) => splits.map((at) => new Date(at * 1000).toTimeString().slice(0, 8));
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width, height: 150, legend: { show: false }, cursor: { y: false, points: { size: 6 } },
      scales: { y: { range: (_u, _low, high) => [0, (high || 1) * 1.15] } },
      axes: [{ ...axis, values: clock, space: 80, size: 30 }, { ...axis, size: 46, space: 26 }],
      series: [{}, { stroke: colour("--accent"), width: 2, fill: colour("--accent-soft"), points: { show: false }, spanGaps: false }],
    };
  }

  function start(root) {
    const plots = new Map();
    const build = (data) => {
      for (const target of root.querySelectorAll("[data-plot]")) {
        const old = plots.get(target);
        if (old) old.destroy();
        const series = data[target.dataset.plot];
        plots.set(target, new uPlot(options(target.clientWidth), series, target));
      }
    };
    let last = null;
    const refresh = async () => {
      const answer = await fetch(`/api/v1/devices/${encodeURIComponent(root.dataset.device)}/windows?limit=${LIMIT}`);
      if (!answer.ok) return;
      const windows = withGaps((await answer.json()).reverse());
      const times = windows.map((w) => w.ended_at);
      const data = {};
      for (const [name, read] of Object.entries(READ)) data[name] = [times, windows.map((w) => read(w) ?? null)];
      if (last === null) build(data);
      else for (const [target, plot] of plots) plot.setData(data[target.dataset.plot]);
      last = data;
    };
    let waiting = false;
    document.body.addEventListener("htmx:sseMessage", (event) => {
      if (event.detail.type !== "changed" || waiting) return;
      waiting = true;
      setTimeout(() => { waiting = false; refresh(); }, 1000);
    });
    let resized = 0;
    addEventListener("resize", () => {
      clearTimeout(resized);
      resized = setTimeout(() => { if (last) build(last); }, 120);
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (last) build(last); });
    refresh();
  }
  for (const root of document.querySelectorAll(".plots")) start(root);
})();
