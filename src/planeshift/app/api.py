"""The Python API: what the commands do, for programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from planeshift.app import access, change
from planeshift.app import status as app_status
from planeshift.app.compose import world as compose
from planeshift.app.site import Site, open_site
from planeshift.engine.run import Event, Listener
from planeshift.plan.operations import Plan
from planeshift.ports import Say, quiet


def _ignore(event: Event) -> None:
    """Listen to nothing."""


@dataclass(frozen=True)
class Cloud:
    """A checked cloud file. Every method looks at the world anew and may raise PlaneshiftError."""

    site: Site

    @classmethod
    def load(cls, path: str | None) -> Cloud:
        """Read and check a cloud file."""
        return cls(open_site(path))

    def plan(self, *, contract: Iterable[str] = ()) -> Plan:
        """What `apply` would do now. Changes nothing."""
        return change.plan(compose(self.site), contract=contract)

    def apply(
        self,
        plan: Plan | None = None,
        *,
        listen: Listener = _ignore,
        say: Say = quiet,
        contract: Iterable[str] = (),
    ) -> Plan:
        """Bring the cloud to its declared state and return what was done; a given plan must still be what is due."""
        world = compose(self.site)
        done = change.up(world, agree=lambda _: True, listen=listen, say=say, contract=contract, saved=plan)
        return done if done is not None else self.plan()

    def status(self) -> list[app_status.Row]:
        """One row for each backend on each host."""
        return app_status.status(self.site, compose(self.site))

    def verify(self) -> list[access.Proof]:
        """Real round trips through the edge. Raises PlaneshiftError (PS705) where one does not come out."""
        proofs: list[access.Proof] = []
        access.verify(self.site, compose(self.site), proofs.append)
        return proofs
