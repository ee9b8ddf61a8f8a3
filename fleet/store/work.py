"""A unit of work: all repositories over one database session."""

from __future__ import annotations

from sqlalchemy.orm import Session

from fleet.store.devices import Devices
from fleet.store.engines import Engines
from fleet.store.evidence import Evidence
from fleet.store.experiments import Experiments
from fleet.store.journal import Audit, Events
from fleet.store.people import ApiTokens, LoginAttempts, People, Sessions
from fleet.store.releases import Releases
from fleet.store.rollouts import Rollouts
from fleet.store.tokens import Tokens
from fleet.store.turns import Turns
from fleet.store.windows import Windows


class Work:
    """The repositories of one session.

    Args:
        session: an open session; whoever opened it commits it.
    """

    def __init__(self, session: Session) -> None:
        self.tokens = Tokens(session)
        self.devices = Devices(session)
        self.windows = Windows(session)
        self.events = Events(session)
        self.releases = Releases(session)
        self.rollouts = Rollouts(session)
        self.engines = Engines(session)
        self.evidence = Evidence(session)
        self.experiments = Experiments(session)
        self.turns = Turns(session)
        self.audit = Audit(session)
        self.people = People(session)
        self.sessions = Sessions(session)
        self.api_tokens = ApiTokens(session)
        self.attempts = LoginAttempts(session)
