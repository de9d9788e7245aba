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
    from client.handlers import Desk, SimulatedSite


def hospital_app(clock: Clock = utc_now, simulated: "SimulatedSite | None" = None) -> ClientApp:
    """The ClientApp; `clock` tells when something expires, `simulated` which hospital a simulated center is."""

    def desk() -> "Desk":
        from client import handlers

        return handlers.Desk(clock) if simulated is None else handlers.Desk(clock, simulated)

    app = ClientApp()

    @app.query("roll_call")
    def roll_call(message: Message, context: Context) -> Message:
        from client import handlers

        return handlers.answer(handlers.roll_call, message, context, desk())

    @app.train()
    def train(message: Message, context: Context) -> Message:
        from client import handlers

        return handlers.answer(handlers.train_here, message, context, desk())

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        from client import handlers

        return handlers.answer(handlers.evaluate_here, message, context, desk())

    return app


app = hospital_app()
