"""`NamedTuple` for the modules of a launch: as in typing, for a fraction of what each class and that module cost; and
`MappingProxyType` of types, another module that no launch needs.

`typing` imports `re`, `enum`, `functools` and `contextlib`, 8 ms at every start, and compiles each annotation of each class.
Checkers of types are shown the original.
"""

from __future__ import annotations

__all__ = ["MappingProxyType", "NamedTuple"]
TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, MappingProxyType
    from typing import Any, NamedTuple, Self
else:
    MappingProxyType = type(vars(type))
    try:
        from _collections import _tuplegetter as _getter
    except ImportError:  # an interpreter that has none in C

        def _getter(index: int, doc: str) -> property:
            return property(lambda self: self[index], doc=doc)

    _codes: dict[int, CodeType] = {}

    def _code(fields: tuple[str, ...]) -> CodeType:
        """Of a `__new__` with these parameters. Compiling is most of what a class costs, so it is done once a length."""
        count = len(fields)
        if count not in _codes:
            names = "".join(f"_{at}, " for at in range(count))
            _codes[count] = eval(f"lambda cls, {names}: new(cls, ({names}))").__code__  # noqa: S307 (our own source)
        return _codes[count].replace(co_varnames=("cls", *fields))

    class _Maker(type):
        """Makes a class of tuples out of annotations; what inherits from such a class is an ordinary class."""

        def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            if bases == (tuple,) or bases[0]._fields is not None:
                return type.__new__(cls, name, bases, namespace)
            fields = tuple(namespace["__annotations__"])
            defaults = tuple(namespace[field] for field in fields if field in namespace)
            if any(field in namespace for field in fields[: len(fields) - len(defaults)]):
                raise TypeError(f"{name}: a field without a default follows one with a default")
            namespace.update({field: _getter(index, "") for index, field in enumerate(fields)})
            namespace.update(__slots__=(), _fields=fields, __match_args__=fields)
            result = type.__new__(cls, name, bases, namespace)
            if "__new__" not in namespace:
                # A signature of its own is what gives keywords, defaults and the errors of a call, at a call's speed.
                made = type(_code)(_code(fields), {"new": tuple.__new__}, "__new__", defaults)
                made.__qualname__ = f"{name}.__new__"
                result.__new__ = staticmethod(made)
            return result

    class NamedTuple(tuple, metaclass=_Maker):
        """A tuple of named fields, each an annotation of the class; as `typing.NamedTuple`."""

        __slots__ = ()
        _fields = None

        def _replace(self, /, **changes: Any) -> Self:
            """The same with other values of some fields."""
            result = tuple.__new__(type(self), map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"no such fields: {list(changes)}")
            return result

        def _asdict(self) -> dict[str, Any]:
            """The values by name."""
            return dict(zip(self._fields, self, strict=True))

        @classmethod
        def _make(cls, values: Any) -> Self:
            """One of the values in order."""
            return cls(*values)

        def __getnewargs__(self) -> tuple[Any, ...]:
            return tuple(self)

        def __repr__(self) -> str:
            inner = ", ".join(f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
            return f"{type(self).__name__}({inner})"
