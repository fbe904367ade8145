"""Names that stand for people: one for each, the same in every run with the same seed."""

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256

_NAMES = """
    Adel Adrian Aiden Akira Alexis Amari Andrea Ariel Arlen Arlo Armel Aubrin Avery Azri Bailor Bente Bevin
    Blair Brett Brindley Brisa Britton Caelan Camden Camille Carey Carlin Casey Charlie Chidi Ciel Claude Cleo
    Corey Corin Dakota Dallin Dana Darcy Darian Devin Dominique Dorian Drury Eden Einar Elia Elio Ellery Ellis
    Emerson Emery Endre Erin Esme Evren Fabrice Farah Felice Fenna Florian Fran Gabri Gael Gerrit Giordan
    Halcyon Hayden Hedley Ide Ilan Imani Indra Ingvar Isa Ismene Jamie Janne Jaylin Jessie Jocelyn Jody Jovan
    Jules Kaede Kai Kamari Kayden Keir Kelly Kendall Kerry Kieran Kim Kiran Kit Kjell Lael Lane Laurence Lavi
    Leigh Lennon Lennox Lesley Linden Logan Loren Lou Luca Lumi Maayan Madison Maddox Makena Marin Marlo Marlowe
    Mattia Merle Micah Michal Mika Milan Minh Misha Morgan Nadir Naoki Nevin Nico Nikita Noam Noa Noor Nova
    Odell Oakley Ola Omari Orla Paris Parrish Perrin Peyton Quinn Quincy Rafa Raleigh Ramsey Reese Remy Ren
    Renny Rhian Rian Riley Robin Rory Rowan Rumi Rylan Sacha Salem Sammie Sanne Sasha Sawyer Selby Shae Shannon
    Shiloh Sidney Silvan Sina Sloane Soren Sutton Tal Tamsin Taran Tarn Tatum Taylan Teagan Teo Terry Thea Tibor
    Toni Tove Tracy Tyne Ulrike Umber Valentin Vanja Vesper Wallis Whitley Willow Wynn Xan Yael Yannis Yasin
    Yuki Zadie Zephyr Zuri
"""
NAMES: tuple[str, ...] = tuple(_NAMES.split())


def pseudonyms(people: Iterable[str], taken: Collection[str], seed: int) -> Mapping[str, str]:
    """A name for each id, none twice and none of `taken` (in lower case, without accents).

    A name follows from its id and the seed, so that another person in the list changes no other's, unless two fall
    together. More people than names get two names each.
    """
    free = [name for name in NAMES if name.casefold() not in taken]
    found: dict[str, str] = {}
    used: set[str] = set()
    for person in sorted(set(people)):
        at = int.from_bytes(sha256(f"{seed}\0{person}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
        for turn in range(len(free) * len(free)):
            first, second = (at + turn) % len(free), turn // len(free)
            name = free[first] if not second else f"{free[first]}-{free[(first + second) % len(free)]}"
            if name not in used:
                break
        used.add(name)
        found[person] = name
    return found
