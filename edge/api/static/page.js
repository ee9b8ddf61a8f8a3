"use strict";
// The live page: figures arrive as server-sent events, pictures are asked for one by one and only while the page is seen.
(() => {
  const find = (id) => document.getElementById(id);
  const { preview, covers, login } = document.body.dataset;
  const PAUSE_MS = 1000;

  function make(tag, classes, text) {
    const made = document.createElement(tag);
    if (classes) made.className = classes;
    if (text !== undefined) made.textContent = text;
    return made;
  }
  const put = (id, text) => { const place = find(id); if (place.textContent !== text) place.textContent = text; };
  const number = (value, digits) => (value === null || value === undefined ? "—" : value.toFixed(digits));
  const words = (text) => String(text).replaceAll("_", " ");
  function ago(at, now) {
    const seconds = Math.max(now - at, 0);
    if (seconds < 90) return `${Math.round(seconds)} s ago`;
    if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
    return seconds < 129600 ? `${Math.round(seconds / 3600)} h ago` : `${Math.round(seconds / 86400)} days ago`;
  }

  // Pictures.
  const shown = new Map();
  class CameraCard {
    constructor(index) {
      this.index = index;
      this.after = 0;
      this.url = null;
      this.root = make("figure", "camera");
      this.image = make("img");
      this.image.alt = "";
      this.blank = make("div", "blank", preview === "on" ? "waiting for a picture" : "pictures are off");
      this.caption = make("figcaption");
      this.name = make("strong");
      this.badge = make("span", "badge");
      this.detail = make("small");
      this.caption.append(this.name, this.badge, this.detail);
      this.root.append(this.blank, this.caption);
      find("cameras").append(this.root);
      if (preview === "on") this.watch();
    }
    update(camera) {
      this.name.textContent = camera.name;
      this.badge.textContent = camera.state;
      this.badge.className = `badge ${camera.state === "live" ? "good" : "bad"}`;
      const facts = [camera.detail, camera.size ? camera.size.join(" × ") : "", camera.reconnects ? `lost and found ${camera.reconnects} times` : ""];
      this.detail.textContent = facts.filter(Boolean).join(" · ");
      this.image.alt = `What camera ${camera.name} sees`;
    }
    lose() {
      this.badge.textContent = "no answer";
      this.badge.className = "badge";
    }
    async watch() {
      for (;;) {
        if (document.hidden) await new Promise((seen) => document.addEventListener("visibilitychange", seen, { once: true }));
        else if (!await this.next()) await new Promise((done) => setTimeout(done, PAUSE_MS));
      }
    }
    async next() {
      try {
        const answer = await fetch(`/preview/${this.index}.jpg?after=${this.after}`);
        if (answer.status !== 200) { this.after = 0; return false; }
        this.after = Number(answer.headers.get("X-Picture-Number"));
        const url = URL.createObjectURL(await answer.blob());
        this.image.src = url;
        await this.image.decode();
        if (this.url) URL.revokeObjectURL(this.url);
        this.url = url;
        if (this.blank.isConnected) this.blank.replaceWith(this.image);
        return true;
      } catch { return false; }
    }
  }
  function showCameras(cameras) {
    cameras.forEach((camera, index) => {
      if (!shown.has(index)) shown.set(index, new CameraCard(index));
      shown.get(index).update(camera);
    });
  }

  // Plots.
  const plots = new Map();
  let points = [];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  // A silence is a gap, not a line: where two windows lie apart, an empty moment goes between them.
  const withGaps = (list) => list.flatMap((point, at) => {
    const before = list[at - 1];
    return before && point.from - before.at > 2 * (point.at - point.from) ? [{ at: before.at + 0.001 }, point] : [point];
  });
  function options(width) {
    const clock = (_u, splits) => splits.map((at) => new Date(at * 1000).toTimeString().slice(0, 8));
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui" };
    return {
      width, height: 140, legend: { show: false }, cursor: { y: false, points: { size: 6 } },
      scales: { y: { range: (_u, _low, high) => [0, (high || 1) * 1.15] } },
      axes: [{ ...axis, values: clock, space: 80, size: 30 }, { ...axis, size: 46, space: 26 }],
      series: [{}, { stroke: colour("--accent"), width: 2, fill: colour("--accent-soft"), points: { show: false }, spanGaps: false }],
    };
  }
  function series(name) {
    const list = withGaps(points);
    return [list.map((point) => point.at), list.map((point) => point[name] ?? null)];
  }
  function plot(anew) {
    for (const target of find("plots").querySelectorAll("[data-plot]")) {
      const data = series(target.dataset.plot);
      const none = target.parentElement.querySelector(".none");
      const early = points.length < 2;
      const empty = early || data[1].every((value) => value === null);
      none.textContent = early ? "No window yet: a line begins with the second." : target.dataset.none;
      none.hidden = !empty;
      target.hidden = !none.hidden;
      target.parentElement.classList.toggle("slim", empty);
      if (empty) continue;
      const old = plots.get(target);
      if (old && !anew) { old.setData(data); continue; }
      if (old) old.destroy();
      plots.set(target, new uPlot(options(target.clientWidth), data, target));
    }
  }
  let resized = 0;
  addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(() => plot(true), 120); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plot(true));

  function showExpressions(counts) {
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    if (!total) return;
    find("expressions").replaceChildren(...Object.entries(counts).map(([label, count]) => {
      const row = make("div");
      const bar = make("progress");
      bar.max = total;
      bar.value = count;
      bar.setAttribute("aria-label", label);
      row.append(make("span", "", label), bar, make("span", "n", `${(100 * count / total).toFixed(0)} %`));
      return row;
    }));
  }

  // Figures and states.
  function part(name, tone, state, detail) {
    const row = make("li");
    row.append(make("strong", "", name), make("span", `badge ${tone}`, state), make("span", "why", detail || ""));
    return row;
  }
  const BAD_UPDATES = new Set(["rolling_back", "rolled_back", "failed", "rejected"]);
  function showParts(beat) {
    const rows = [];
    const { model, broker, update } = beat;
    rows.push(model ? part("engine", "good", "runs", `${model.release} ${model.precision} on ${model.runtime}`) : part("engine", "bad", "none", "no model is loaded"));
    if (broker) rows.push(part("broker", broker.connected ? "good" : "warn", broker.connected ? "connected" : "away", broker.detail));
    else rows.push(part("broker", "", "none", "this run has no fleet"));
    if (broker) rows.push(part("spool", beat.spool_lost ? "bad" : "", `${beat.spool} waiting`, beat.spool_lost ? `${beat.spool_lost} messages were given up` : ""));
    if (update) {
      const tone = BAD_UPDATES.has(update.state) ? "bad" : (update.state === "committed" || update.state === "idle" ? "good" : "busy");
      const percent = update.percent === null ? "" : `${update.percent.toFixed(0)} % `;
      rows.push(part("update", tone, words(update.state), `${update.release} ${percent}${update.message}`));
    }
    rows.push(part("frames", "", String(beat.frames), beat.dropped ? `${beat.dropped} let go for newer ones` : "none let go"));
    find("parts").replaceChildren(...rows);
  }
  const TONES = { info: "busy", warning: "warn", error: "bad" };
  function showEvents(events, now) {
    if (!events.length) return;
    find("events").replaceChildren(...events.map((event) => {
      const row = make("li");
      const said = make("span", "", `${event.message} `);
      said.append(make("small", "", words(event.kind)));
      row.append(make("span", `badge ${TONES[event.severity] || ""}`, event.severity), make("time", "", ago(event.at, now)), said);
      return row;
    }));
  }
  function showFigures(figures) {
    put("f-fps", number(figures.fps, 1));
    put("f-latency", number(figures.latency_p95_ms, 1));
    put("f-power", number(figures.power_w, 2));
    put("f-source", `source: ${figures.power_source}`);
    put("f-energy", number(figures.energy_per_inference_j, 3));
    put("f-heat", number(figures.temperature_c, 1));
    put("f-sensor", figures.hottest || "");
    find("faces-tile").hidden = figures.faces === null;
    put("f-faces", number(figures.faces, 0));
  }
  function showBeat(beat) {
    find("lost").hidden = true;
    document.body.classList.remove("lost");
    put("ready", beat.ready ? "ready" : "not ready");
    find("ready").className = `badge ${beat.ready ? "good" : "bad"}`;
    const { model, limits, figures } = beat;
    put("model", model ? `${model.release} · ${model.precision} · ${model.runtime} · ${model.input[1]} × ${model.input[0]}` : "no model is loaded");
    find("reasons").hidden = beat.ready;
    find("reasons").replaceChildren(...beat.reasons.map((reason) => make("li", "", reason)));
    const warnings = [];
    if (figures.throttled) warnings.push("Heat slows this board down.");
    if (figures.over_current) warnings.push("This board draws more current than allowed.");
    if (limits && limits.step) warnings.push(`Does less to stay within its limits: ${limits.detail}.`);
    find("limits").hidden = !warnings.length;
    put("limits", warnings.join(" "));
    showFigures(figures);
    showCameras(beat.cameras);
    showParts(beat);
    showEvents(beat.events, beat.at);
  }

  find("logout").hidden = login !== "yes";
  find("off").hidden = preview === "on";
  if (preview === "on") put("privacy", covers === "yes" ? "faces that the model finds are covered; one that it misses is not" : "faces are shown: this site allows it");
  plot(true);
  const stream = new EventSource("/live");
  stream.addEventListener("beat", (event) => showBeat(JSON.parse(event.data)));
  stream.addEventListener("windows", (event) => {
    const told = JSON.parse(event.data);
    points = told.points;
    plot(false);
    showExpressions(told.expressions);
  });
  stream.addEventListener("error", () => {
    find("lost").hidden = false;
    document.body.classList.add("lost");
    for (const card of shown.values()) card.lose();
    put("ready", "no answer");
    find("ready").className = "badge bad";
    if (stream.readyState === EventSource.CLOSED && login === "yes") location.assign("/login");
  });
})();
