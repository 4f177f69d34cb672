"""The one exception that carries a sentence for the person at the canvas."""


class LTX2Error(RuntimeError):
    """Bad input or an impossible request. The message says what is wrong and what to do."""
