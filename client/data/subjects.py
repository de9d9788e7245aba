"""Whose each image is, told by what a site says of it or by the paths of all its images.

One patient's images must never be divided between training and test. In doubt, images are therefore one subject's,
which costs a division and leaks nothing, and the doubt is told. In this order:

1. What a site says counts: a Decathlon entry's `"subject"`, a `participants.tsv` beside the data whose `participant_id`
   stands in a path, a part of the path that begins with `sub-`.
2. Else the path tells it, by `client/data/path_names.py`. A short number in two folders is two patients, named with
   their folders (`Utrecht-0`).
3. Names that mean the same (`P1`, `p-01`), and all images with one label file, are one subject's.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePath

from client.data.filenames import contrast_of, stem, words_of
from client.data.name_words import PLACE, read_name
from client.data.path_names import MOST_VISITS, PathName, names_of

PARTICIPANTS = "participants.tsv"

MANY = 3
"""From so many images on, a subject that holds more than half of them is doubted."""

NAMED = 4
"""So many names are listed in a doubt."""

MEND = 'if that is wrong, name the patients in participants.tsv, or by "subject" in a Decathlon list'

APART = "find out whether that is one patient, and if it is, " + MEND.partition(", ")[2]


@dataclass(frozen=True, order=True)
class Doubt:
    """What may be wrong with a subject's name."""

    subject: str
    text: str
    """What was taken for what, and what to do."""


@dataclass(frozen=True)
class Whose:
    """The subject of each image, and what is doubted of them."""

    subjects: tuple[str, ...]
    doubts: tuple[Doubt, ...]


def subjects_of(images: Sequence[PurePath]) -> list[str]:
    """Whose each image is; paths relative to the data set, one name for each."""
    return list(whose(images).subjects)


def whose(
    images: Sequence[PurePath],
    labels: Sequence[Iterable[Hashable]] = (),
    said: Sequence[str] = (),
    participants: Iterable[str] = (),
) -> Whose:
    """Whose each image is, from paths relative to the data set.

    `labels` and `said` go with `images`: what stands for each label that an image may have, and the subject that the
    site names, or an empty text. `participants` are the names in a `participants.tsv`.
    """
    known = tuple(participants)
    told = [(said[place] if said else "") or _told(image, known) for place, image in enumerate(images)]
    by_path = names_of({place: image for place, image in enumerate(images) if not told[place]})
    texts = [name or by_path[place].text for place, name in enumerate(told)]
    groups = _Groups(len(images))
    groups.unite(name or by_path[place].key for place, name in enumerate(told))
    merged = _unite_what_means_the_same(by_path, texts, groups) + _unite_with_told(images, told, texts, groups)
    if labels:
        before = groups.roots()
        groups.unite_by_any(labels)
        merged += _merged(before, groups, texts, "share a label file")
    shown = groups.names([(not name, len(text), text) for name, text in zip(told, texts, strict=True)])
    doubts = [Doubt(shown[place], text) for place, text in merged]
    doubts += _doubts_of(by_path, {place: shown[place] for place in by_path})
    doubts += _large(by_path, shown)
    doubts += _in_several_folders(images, shown)
    return Whose(tuple(shown), tuple(dict.fromkeys(sorted([*doubts, *spelt_alike(shown)]))))


def read_participants(folder: Path) -> tuple[str, ...]:
    """The names in a folder's `participants.tsv`; none where there is no such file or column."""
    try:
        with (folder / PARTICIPANTS).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t")
            return tuple(name for row in rows if (name := (row.get("participant_id") or "").strip()))
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()


def spelt_alike(subjects: Iterable[str]) -> list[Doubt]:
    """Subjects that differ by case, zeros or separators alone, which may be one."""
    alike: dict[str, list[str]] = defaultdict(list)
    for subject in sorted(set(subjects)):
        bare = re.sub(r"[\W_]+", "", subject).lower()
        alike[re.sub(r"(?<!\d)0+(?=\d)", "", bare) or subject].append(subject)
    return [
        Doubt(one, f"is written nearly as {_listed(set(names) - {one})}: {APART}")
        for names in alike.values()
        for one in names
        if len(names) > 1
    ]


def _told(image: PurePath, participants: tuple[str, ...]) -> str:
    """The subject that a participant's name or BIDS's `sub-` tells; empty where neither does."""
    text = (image.parent / stem(image.name)).as_posix()
    found = [name for name in participants if _stands_in(name.removeprefix("sub-"), text)]
    if found:
        return max(found, key=len)
    return next((name for part in image.parts if (name := _by_bids(part))), "")


def _by_bids(part: str) -> str:
    """`sub-01` of `sub-01_FLAIR`, and of what sites make of it, such as `sub-01-FLAIR`; `sub-MS-012` stays whole."""
    match = re.match(r"sub-((?:[^\W\d_]+-(?=\d))?[^\W_]+)", part, re.IGNORECASE)
    if match is None:
        return ""
    words = [before + word for before, word in words_of(match[1])]
    own = takewhile(lambda word: contrast_of(word) is None, words[1:])
    return "sub-" + "".join([words[0], *own])


def _stands_in(name: str, text: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text, re.IGNORECASE) is not None


class _Groups:
    """Images that are one subject's (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def roots(self) -> list[int]:
        """What is the same for all of a group."""
        return [self._root(place) for place in range(len(self._parent))]

    def join(self, one: int, other: int) -> None:
        """Make the groups of two images one."""
        one, other = self._root(one), self._root(other)
        self._parent[max(one, other)] = min(one, other)

    def unite(self, keys: Iterable[Hashable]) -> None:
        """Join all with one key."""
        self.unite_by_any([key] for key in keys)

    def unite_by_any(self, keys: Iterable[Iterable[Hashable]]) -> None:
        """Join all that have a key in common."""
        first: dict[Hashable, int] = {}
        for place, own in enumerate(keys):
            for key in own:
                self.join(first.setdefault(key, place), place)

    def names(self, ranked: Sequence[tuple[bool, int, str]]) -> list[str]:
        """One of its members' names for each: one that the site says, then the shortest, then the first."""
        best: dict[int, tuple[bool, int, str]] = {}
        for root, name in zip(self.roots(), ranked, strict=True):
            best[root] = min(best.get(root, name), name)
        return [best[root][2] for root in self.roots()]

    def _root(self, place: int) -> int:
        while self._parent[place] != place:
            self._parent[place] = place = self._parent[self._parent[place]]
        return place


def _unite_what_means_the_same(
    names: Mapping[int, PathName], texts: Sequence[str], groups: _Groups
) -> list[tuple[int, str]]:
    """Join names of which one begins or ends another, or that have a long number in common; say which."""
    before = groups.roots()
    places: dict[tuple[tuple[str, str], ...], int] = {}
    for place, name in names.items():
        if name.who:
            places.setdefault(name.keys, place)
    for key, place in places.items():
        for size in range(1, len(key)):
            head, tail = key[:size], key[size:]
            if head in places and any(number for _, number in head):
                groups.join(places[head], place)
            if tail in places and any(word or len(number) > 2 for word, number in tail):
                groups.join(places[tail], place)
    long: dict[Hashable, list[int]] = defaultdict(list)
    for place, name in names.items():
        for unit in (*name.who, *name.rest):
            if unit.long:
                long[unit.key].append(place)
    for same in long.values():
        # A number that all have, such as a project's, tells nothing.
        if len(same) < len(names):
            for place in same[1:]:
                groups.join(same[0], place)
    _unite_persons(names, groups)
    return _merged(before, groups, texts, "seem to mean one")


def _unite_with_told(
    images: Sequence[PurePath], told: Sequence[str], texts: Sequence[str], groups: _Groups
) -> list[tuple[int, str]]:
    """Join an image whose subject nobody says with those of the same name whose subject is said."""
    before = groups.roots()
    if any(told) and not all(told):
        keys = {place: name.key for place, name in names_of(dict(enumerate(images))).items() if name.who}
        said: dict[Hashable, set[str]] = defaultdict(set)
        for place, key in keys.items():
            if told[place]:
                said[key].add(told[place])
        first = {told[place]: place for place in reversed(range(len(told)))}
        for place, key in keys.items():
            # Where the site says that one name is several patients', names tell nothing.
            if not told[place] and len(said[key]) == 1:
                groups.join(first[next(iter(said[key]))], place)
    return _merged(before, groups, texts, "have one name in their paths")


def _unite_persons(names: Mapping[int, PathName], groups: _Groups) -> None:
    """Join a person's name in several folders (`GE/Doe`, `Philips/Doe`), which unlike a number is nobody else's."""
    persons = {
        place: name
        for place, name in names.items()
        if len(name.who) > 1 and not name.who[-1].number and name.who[-1].level != name.who[-2].level
    }
    heads, ends = {name.keys[:-1] for name in persons.values()}, {name.keys[-1] for name in persons.values()}
    first: dict[Hashable, int] = {}
    for place, name in persons.items():
        if len(ends) >= len(heads):
            groups.join(first.setdefault(name.keys[-1], place), place)
        if len(ends) <= len(heads) and len({name.keys for name in persons.values()}) > max(len(heads), len(ends)):
            # Either may be the person.
            groups.join(first.setdefault(name.keys[:-1], place), place)


def _merged(before: Sequence[int], groups: _Groups, texts: Sequence[str], why: str) -> list[tuple[int, str]]:
    """A doubt for each group that several of other names became."""
    parts: dict[int, set[int]] = defaultdict(set)
    named: dict[int, set[str]] = defaultdict(set)
    for place, root in enumerate(groups.roots()):
        parts[root].add(before[place])
        named[root].add(texts[place])
    return [
        (root, f"is {_listed(named[root])}, which {why} and are taken for one patient: {MEND}")
        for root in parts
        if len(parts[root]) > 1 and len(named[root]) > 1
    ]


def _doubts_of(names: Mapping[int, PathName], shown: Mapping[int, str]) -> Iterable[Doubt]:
    its: dict[str, list[PathName]] = defaultdict(list)
    ends: dict[Hashable, set[str]] = defaultdict(set)
    visits: dict[Hashable, set[str]] = defaultdict(set)
    for place, name in names.items():
        its[shown[place]].append(name)
        if len(name.who) > 1 and name.who[0].level != name.who[-1].level and name.who[-1].number:
            ends[name.who[-1].key].add(shown[place])
        if name.may_end_in_visit():
            visits[name.without_visit().keys].add(shown[place])
        elif len(name.who) > 1 and not name.who[0].word and not any(unit.number for unit in name.who[1:]):
            visits[name.keys[1:]].add(shown[place])
    for subject, own in its.items():
        yield from _doubts_of_one(subject, own)
    for alike in visits.values():
        for subject in sorted(alike) if 1 < len(alike) <= MOST_VISITS else ():
            yield Doubt(subject, f"is told by what may count visits, as is {_listed(alike - {subject})}: {APART}")
    # Where centers are told by that word, a number of each is as it should be.
    places = {unit.word for name in names.values() for unit in name.who} & PLACE
    for alike in ends.values() if not places else ():
        for subject in sorted(alike) if len(alike) > 1 else ():
            yield Doubt(subject, f"has the number of {_listed(alike - {subject})} in another folder: {APART}")


def _doubts_of_one(subject: str, own: Sequence[PathName]) -> Iterable[Doubt]:
    rests = {"_".join(unit.text for unit in name.rest) for name in own if name.rest}
    if rests and len({name.rest for name in own}) > 1:
        yield Doubt(subject, f"has {_listed(rests)} in its names, taken for visits or techniques: {MEND}")
    spelt = {name.text for name in own if name.who}
    if len({name.key for name in own}) == 1 < len(spelt):
        yield Doubt(subject, f"is written {_listed(spelt)}, taken for one patient: {MEND}")
    if not any(name.who for name in own):
        yield Doubt(subject, f"is told by nothing but words of time or technique: {MEND}")


def _large(names: Mapping[int, PathName], shown: Sequence[str]) -> Iterable[Doubt]:
    for subject, count in Counter(shown[place] for place in names).most_common(1):
        if count >= MANY and 2 * count > len(shown):
            yield Doubt(subject, f"holds {count} of {len(shown)} images: {MEND}")


def _in_several_folders(images: Sequence[PurePath], shown: Sequence[str]) -> Iterable[Doubt]:
    """Subjects of BIDS that lie in several folders (`milan/sub-01`, `rome/sub-01`), which may be several patients."""
    folders: dict[str, set[str]] = defaultdict(set)
    for image, subject in zip(images, shown, strict=True):
        above = takewhile(lambda part: not _by_bids(part), image.parts[:-1])
        units = [unit.text for part in above for unit in read_name(part).units]
        if any(_by_bids(part) == subject for part in image.parts):
            folders[subject].add("/".join(units))
    for subject, own in folders.items():
        if len(own - {""}) > 1:
            yield Doubt(subject, f"lies in {_listed(own - {''})}, taken for one patient: {MEND}")


def _listed(texts: Iterable[str]) -> str:
    listed = sorted(texts)
    more = f" and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
    return ", ".join(listed[:NAMED]) + more
