#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""``dataclasses.dataclass(frozen=True)``, made in a sixth of the time.

The standard one writes the source of six functions for each class, and has
them compiled: for fifty classes, a quarter of what the program took until its
first request. Here each class has the same functions, which look at its
fields when they are called. What a class is otherwise, ``dataclasses`` says:
its ``field``, ``fields``, ``replace`` and ``asdict`` are for these, too.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import typing

__all__ = ['dataclass']

_Class = typing.TypeVar('_Class', bound=type)

if typing.TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(
        *, frozen: typing.Literal[True], kw_only: bool = False
    ) -> Callable[[_Class], _Class]:
        """Return what makes a class one of frozen values."""

        def make(cls: _Class) -> _Class:
            for function in (__repr__, __eq__, __hash__):
                # Its own, where it has one.
                if function.__name__ not in vars(cls):
                    setattr(cls, function.__name__, function)
            cls.__setattr__, cls.__delattr__ = __setattr__, __delattr__
            made = dataclasses.dataclass(
                init=False, repr=False, eq=False, kw_only=kw_only
            )(cls)
            made.__init__ = _init(made)
            made.__signature__ = _Signature()
            return made

        return make


def _init(cls: typing.Any) -> Callable[..., None]:
    """Return its ``__init__``, which is called often: for each segment."""
    fields = dataclasses.fields(cls)
    names = frozenset(field.name for field in fields)
    places = [field.name for field in fields if not field.kw_only]
    defaults = {
        field.name: field.default
        for field in fields
        if field.default is not dataclasses.MISSING
    }
    factories = {
        field.name: field.default_factory
        for field in fields
        if field.default_factory is not dataclasses.MISSING
    }
    follows = hasattr(cls, '__post_init__')

    def __init__(self: typing.Any, *args: object, **given: object) -> None:
        values = self.__dict__
        values.update(defaults)
        values.update(zip(places, args, strict=False))
        if len(args) > len(places):
            raise TypeError('%s(): too many values' % cls.__name__)
        if given:
            if not given.keys() <= names - {*places[: len(args)]}:
                raise TypeError('%s(): another name' % cls.__name__)
            values.update(given)
        for name, factory in factories.items():
            if name not in values:
                values[name] = factory()
        if len(values) < len(names):
            missing = ', '.join(sorted(names - values.keys()))
            raise TypeError('%s(): without %s' % (cls.__name__, missing))
        if follows:
            self.__post_init__()

    return __init__


class _Signature:
    """What ``help`` and the documentation show in place of ``*args``."""

    def __get__(self, _value: object, cls: typing.Any) -> typing.Any:
        # No copy of an image asks for it.
        import inspect

        def parameter(field: typing.Any) -> inspect.Parameter:
            kind = (
                inspect.Parameter.KEYWORD_ONLY
                if field.kw_only
                else inspect.Parameter.POSITIONAL_OR_KEYWORD
            )
            default = inspect.Parameter.empty
            for each in field.default, field.default_factory:
                if each is not dataclasses.MISSING:
                    default = each
            return inspect.Parameter(
                field.name, kind, default=default, annotation=field.type
            )

        parameters = map(parameter, dataclasses.fields(cls))
        return inspect.Signature(sorted(parameters, key=lambda one: one.kind))


def __repr__(self: typing.Any) -> str:
    return '%s(%s)' % (
        type(self).__qualname__,
        ', '.join(
            '%s=%r' % (field.name, getattr(self, field.name))
            for field in dataclasses.fields(self)
            if field.repr
        ),
    )


def __eq__(self: typing.Any, other: object) -> bool:
    if type(self) is not type(other):
        return NotImplemented
    equal: bool = self.__dict__ == other.__dict__
    return equal


def __hash__(self: typing.Any) -> int:
    return hash(tuple(map(self.__dict__.get, self.__dataclass_fields__)))


def __setattr__(self: object, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError('%s cannot be changed' % name)


def __delattr__(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError('%s cannot be removed' % name)
