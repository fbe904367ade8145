"""The frame of a question: its small words and the words that say what is to be done, with its topics left out.

What somebody wants to be done, and how it is best looked for, shows in the frame; a few examples would otherwise be
told apart by what they happen to be about. Pure, English words; of a long text the head and the tail are read.
"""

import re

HEAD_CHARS = 400
TAIL_CHARS = 160
TOPIC = "x"
"""Stands for any run of words about the topic."""
_TOKEN = re.compile(
    r"(?P<quote>\"[^\"\n]{2,80}\")"
    r"|(?P<code>\b(?=[\w.:/#-]*\d)(?=[\w.:/#-]*[A-Za-z_])[\w#]+(?:[.:/-]\w+)*\b"
    r"|\b\w+\.(?:py|md|txt|pdf|yaml|yml|json|csv|docx?|xml)\b|\b[a-z]+[A-Z]\w*|\b\w+_\w+)"
    r"|(?P<number>#?\d[\d.,/()-]*)"
    r"|(?P<word>[^\W\d_]+(?:['\u2019][^\W\d_]+)?)"
    r"|(?P<sign>[?:])"
)
_KINDS = {"quote": "aquote", "code": "acode", "number": "anumber"}
_SMALL = """
a an the this that these those it its i we you he she they me us my our your his her their them someone somebody anyone
who whom whose what which when where why how is are was were be been am do does did done has have had can could will
would shall should may might must not no never or and but if than then as of in on at to for from by with without about
into over under after before between against through during per all any every each both either neither some most more
less least much many few other another same so too very really actually only just also there here one two three ten
yes please up out off down says say said now last next one's isn't doesn't don't didn't can't what's i'm that's it's
"""
_DOING = """
find search show list get give retrieve fetch locate look pull bring dig collect sources source references papers paper
articles article documents document records record files file studies study books literature links archive entry passage
chapter section mention mentions mentioned discuss discusses published latest quotes need looking
true false correct right wrong fact facts check verify confirm validate claim claims rumor myth evidence support
supports accurate sure heard read told statement double valid agree agrees contradict prove
compare compared comparison difference differences differ different versus vs better worse best cheaper larger heavier
similar similarities alike contrast pros cons advantages disadvantages distinguish distinguishes rank prefer similarly
summarize summarise summary sum recap gist tldr tl dr condense shorten brief briefly short overview outline points point
key main takeaways highlights abstract synopsis digest nutshell boil bullet ideas words sentences sentence executive
explain define meaning mean means write solve compute calculate cause causes happens make use work works tell describe
think become make makes common unlike benefits shorter longer reduce core lessons essentials distill reviews definition
paragraph attached decide order catalogue pages page
connected connection connects connect relation relations related relationship relationships path chain tree family links
depends depend dependencies descendants ancestors influenced influence cite cites reports colleagues owned owns network
subsidiaries suppliers interact interacts knows worked parents children grandchildren
error code ticket version exact phrase id number part invoice isbn doi rfc article named string line
"""
_IS = ("is", "are", "was", "were", "be")
"""A word in -er behind one of them compares."""
_KEPT = frozenset((_SMALL + _DOING).split())


def frame(text: str) -> str:
    """The frame, such as `what is the difference between x and x ?`; '' for a text without words."""
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = f"{text[:HEAD_CHARS]} {text[-TAIL_CHARS:]}"
    found: list[str] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        word = match[0].lower().replace("\u2019", "'")
        if kind in _KINDS:
            word = _KINDS[kind]
        elif kind == "word" and word not in _KEPT:
            # A name in the middle of a sentence is looked for as it is written.
            word = "aname" if match[0][0].isupper() and found else TOPIC
            if match[0].endswith(("er", "est")) and found and found[-1] in _IS:
                word = "more"
        if not found or found[-1] != word or word not in (TOPIC, "aname"):
            found.append(word)
    return " ".join(found)
