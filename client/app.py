"""The hospital's Flower ClientApp: the door, behind which client/handlers.py does the work.

Flower's simulation loads this module in the coordinator's process before it starts Ray, only to see
that it can be loaded. So torch and MONAI, seconds of imports, come in with the first message: at the
hospital, while Ray starts and the coordinator imports its own.
"""

from typing import TYPE_CHECKING

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from shared.clock import Clock, utc_now

if TYPE_CHECKING:
    from client.handlers import FindSite
    from client.hospital.config import Site
    from shared.config.settings import Settings


def find_deployed(center: str, context: Context, settings: "Settings") -> "Site":
    """The hospital that a deployed node is. Raises `SettingsError` or `TrustError`."""
    from client.hospital.node import site_of

    return site_of(center, context, settings)


def hospital_app(clock: Clock = utc_now, find: "FindSite" = find_deployed) -> ClientApp:
    """The ClientApp; `clock` tells when something expires, and `find` which hospital a center is at a node."""
    app = ClientApp()

    @app.query("roll_call")
    def roll_call(message: Message, context: Context) -> Message:
        from client import handlers

        return handlers.answer(handlers.roll_call, message, context, handlers.Desk(clock, find))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        from client import handlers

        return handlers.answer(handlers.train_here, message, context, handlers.Desk(clock, find))

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        from client import handlers

        return handlers.answer(handlers.evaluate_here, message, context, handlers.Desk(clock, find))

    return app


app = hospital_app()
