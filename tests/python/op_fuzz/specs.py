"""The registry of drawn ops: one spec an op, in the modules that this one imports."""

from . import draw, runner

SPECS = {}


class Spec:
    def __init__(self, op, draw_arguments, types=None, attr="T", rtol=None, take=None):
        self.op, self.draw_arguments, self.attr, self.rtol, self.take = op, draw_arguments, attr, rtol, take
        self.types = types

    def element_types(self):
        if self.attr is None:
            return list(self.types or ["float32"])
        found = draw.kernel_types(self.op, self.attr)
        return [t for t in found if self.types is None or t in self.types]

    def case(self, d):
        if not hasattr(self, "_types"):
            self._types = self.element_types()
        # float32 is what models hold: every third case.
        d.t = "float32" if "float32" in self._types and d.chance(0.3) else d.pick(self._types)
        rtol = self.rtol(d.t) if callable(self.rtol) else self.rtol
        return runner.Case(self.op, self.draw_arguments(d), rtol, self.take)


def spec(op, draw_arguments, **options):
    SPECS[op] = Spec(op, draw_arguments, **options)


def loose(factor):
    """A tolerance `factor` times the usual one of the case's type."""
    return lambda t: factor * runner.RTOL.get(t, 0)


from . import specs_compute, specs_data, specs_image, specs_signal  # noqa: E402,F401
