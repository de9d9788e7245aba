"""What the paths of a data set's images tell of who each is, where the site itself does not say.

A patient's number (`P01`, `MS-012`, a number of five digits or more) is who, wherever it stands, and what follows it
is a visit or a technique. Else it is every unit of the path (`client/data/name_words.py`), from the topmost folder in
which the paths differ on, without the numbers that count visits.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import PurePath

from client.data.filenames import stem
from client.data.name_words import COHORT, PATIENT, PLACE, Told, Unit, read_name

MOST_VISITS = 6
"""So many numbers behind one that all names have may count visits; more of them count patients."""

Path = tuple[Unit, ...]


@dataclass(frozen=True)
class PathName:
    """Who an image's path tells it is of."""

    who: Path
    """Empty where nothing but time and technique is told."""
    rest: Path = ()
    """What was taken for a visit or a technique."""
    text: str = ""
    """The name as it is shown."""

    @property
    def key(self) -> Hashable:
        """What is the same in whichever order and with whichever marks it is written."""
        words = sorted(unit.key[0] for unit in self.who if unit.word)
        return (tuple(words), tuple(unit.key[1] for unit in self.who if unit.number)) if self.who else self.text

    @property
    def keys(self) -> tuple[tuple[str, str], ...]:
        """The keys of its units."""
        return tuple(unit.key for unit in self.who)

    def ends_in_visit(self) -> bool:
        """Whether it ends in a number or letter that may count visits: `01_2`, `S01_a`, `Doe_1`."""
        if self.rest or not self.who:
            return False
        last = self.who[-1]
        if last.like_a_visit:
            return any(unit.number and unit.word not in PLACE for unit in self.who[:-1])
        apart = not last.text.lower().startswith(f"{last.word}{last.number}")
        person = bool(last.word) and last.word not in PATIENT | COHORT | PLACE
        return person and apart and replace(last, word="").like_a_visit

    def may_end_in_visit(self) -> bool:
        """Whether its last number might, though it is taken for a patient's: `Doe_005`, `Doe/FLAIR_301`."""
        last = self.who[-1] if self.who and not self.rest else None
        if last is None or not last.number or len(last.number) > 3 or last.word in PATIENT | COHORT | PLACE:
            return self.ends_in_visit()
        return len(self.who) > 1 if not last.word else not last.text.lower().startswith(f"{last.word}{last.number}")

    def without_visit(self) -> "PathName":
        """The same name without the last number."""
        last = self.who[-1]
        if not last.word or not last.number:
            return PathName(self.who[:-1], (last,))
        word = replace(last, text=last.text[: len(last.word)], number="")
        return PathName((*self.who[:-1], word), (replace(last, text=last.number, word=""),))


def names_of(images: Mapping[int, PurePath]) -> dict[int, PathName]:
    """What each path tells, by the same keys."""
    read = {
        place: [read_name(part) for part in (*path.parent.parts, stem(path.name))] for place, path in images.items()
    }
    levels = {place: _levels(parts) for place, parts in read.items()}
    levels = _without_common_folders(levels)
    alike = _numbers_repeat(levels.values())
    paths = {place: _flat(parts, alike) for place, parts in levels.items()}
    names = _by_number(paths)
    if _a_folder_of_all(names, read):
        names = dict.fromkeys(names, PathName(()))
    names = _without_visits(_without_common_ends(names))
    nameless = [stem(images[place].name) for place, name in names.items() if not name.who]
    return {
        # One name for all whose paths tell nothing but time and technique.
        place: replace(name, text=_written(name.who) if name.who else _faint(read[place]) or min(nameless))
        for place, name in names.items()
    }


def _levels(parts: Sequence[Told]) -> list[Path]:
    return [tuple(replace(unit, level=level) for unit in part.units) for level, part in enumerate(parts)]


def _faint(parts: Sequence[Told]) -> str:
    return next((part.faint for part in reversed(parts) if part.faint), "")


def _a_folder_of_all(names: Mapping[int, PathName], read: Mapping[int, Sequence[Told]]) -> bool:
    """Whether all that is told is one folder's word, while files have numbers (`MSdata/scan_001`)."""
    numbered = any(unit.number for name in names.values() for unit in name.who)
    numbered = numbered or any(parts[-1].units for parts in read.values())
    faint = {_faint(parts) for parts in read.values()} - {""}
    return len({name.keys for name in names.values()}) == 1 and not numbered and len(faint) > 1


def _without_common_folders(levels: dict[int, list[Path]]) -> dict[int, list[Path]]:
    """The same without the leading folders that all share, where something else is left of each."""
    while (
        levels
        and all(any(parts[1:]) for parts in levels.values())
        and len({tuple(unit.key for unit in parts[0]) for parts in levels.values()}) == 1
        and not any(unit.patient or unit.cohort or unit.long for parts in levels.values() for unit in parts[0])
    ):
        levels = {place: parts[1:] for place, parts in levels.items()}
    return levels


def _numbers_repeat(paths: Iterable[list[Path]]) -> bool:
    """Whether files repeat their folders' bare numbers (`013/013_FLAIR`), or count something else (`1/02_FLAIR`)."""
    told = [[[unit.key for unit in part if not unit.word] for part in parts] for parts in paths]
    pairs = [(one, other) for parts in told for one, other in pairwise([part for part in parts if part])]
    return all(one[-1] in other for one, other in pairs)


def _flat(parts: Sequence[Path], alike: bool) -> Path:
    """All units, and those once that folder and file tell alike."""
    path: list[Unit] = []
    for part in parts:
        told = {unit.key for unit in path if unit.word or alike}
        path += [unit for unit in part if unit.key not in told]
    # A folder for each year is of all patients.
    return tuple(unit for unit in path if not unit.year) or tuple(path)


def _by_number(paths: Mapping[int, Path]) -> dict[int, PathName]:
    """Each path up to a patient's number; the whole path where it has none."""
    fixed = _fixed(set(paths.values()))
    tests: tuple[Callable[[Unit], bool], ...] = (
        lambda unit: unit.patient,
        lambda unit: unit.cohort and unit.key not in fixed,
        lambda unit: unit.long and unit.key not in fixed,
    )
    return {place: _cut(path, tests) for place, path in paths.items()}


def _cut(path: Path, tests: Iterable[Callable[[Unit], bool]]) -> PathName:
    for test in tests:
        for place, unit in enumerate(path):
            if test(unit):
                # A bare number before it in one name counts visits (`2_P01`); a folder's may be a center's.
                before = [other for other in path[:place] if other.word or other.level != unit.level]
                rest = [other for other in path[:place] if other not in before]
                who = (unit,) if unit.long else (*before, unit)
                return PathName(who, (*rest, *path[place + 1 :]))
    return PathName(path)


def _fixed(paths: set[Path]) -> frozenset[Hashable]:
    """Numbers that all paths have alike while what follows tells patients apart (`MS2_001`, `MS2_002`)."""
    common = set.intersection(*({unit.key for unit in path} for path in paths)) if paths else set()
    result = set()
    for unit in {unit for path in paths for unit in path if unit.key in common and (unit.cohort or unit.long)}:
        behind = {path[[other.key for other in path].index(unit.key) + 1 :] for path in paths}
        visits = unit.long or all(other.like_a_visit for rest in behind for other in rest)
        if len(behind) > (MOST_VISITS if visits else 1):
            result.add(unit.key)
    return frozenset(result)


def _without_common_ends(names: dict[int, PathName]) -> dict[int, PathName]:
    """The same without a last folder's word that stands under all others (`Doe/export/FLAIR`, `Roe/export/FLAIR`)."""
    ends = {
        name.who[-1].key if len(name.who) > 1 and name.who[-1].level != name.who[-2].level and not name.rest else None
        for name in names.values()
    }
    heads = {name.keys[:-1] for name in names.values()}
    if len(ends) == 1 < len(heads) and (end := ends.pop()) and not end[1]:
        return {place: PathName(name.who[:-1], name.who[-1:]) for place, name in names.items()}
    return names


def _without_visits(names: Mapping[int, PathName]) -> dict[int, PathName]:
    """Take off last numbers that count visits: there are more patients than visits, and some have several."""
    short = {place: name.without_visit() for place, name in names.items() if name.ends_in_visit()}
    several = defaultdict(set)
    for name in short.values():
        several[name.keys].add(name.rest[0].key)
    numbers = set().union(*several.values())
    padded = {place for place, name in names.items() if place in short and name.who[-1].word and name.who[-1].padded}
    visits = len(several) > 1 and any(len(one) > 1 for one in several.values()) and len(numbers) <= len(several)
    result = dict(names)
    for place, name in short.items():
        narrow = len(several) > 1 and 0 < len(name.rest[0].number) < len(name.who[-1].number)
        # Visits are not counted `Doe_01`; patients of a center are.
        if (visits and place not in padded) or narrow:
            result[place] = name
    return result


def _written(who: Path) -> str:
    """A name as it stands in the path; `-` between folders, `_` within one."""
    text = who[0].text
    for before, unit in pairwise(who):
        text += ("_" if unit.level == before.level else "-") + unit.text
    return text.replace(" ", "_")
