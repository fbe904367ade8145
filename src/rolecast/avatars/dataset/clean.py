"""A message as its writer typed it: without what programs put into it, with every quirk of style.

Emoji, casing, typos, repeated letters and line ends stay: they are what is to be learnt.
"""

import re
import unicodedata

MOST = 2000
"""Characters of a message; longer ones are pasted, not said."""
LINK = "[link]"
"""In place of an address: what is behind it is nobody's style, and it may open somebody's documents."""
_UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb]+"
)
"""But for the joiners U+200C and U+200D, which Persian and emoji need."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")
_LINKS = re.compile(
    r"(?:https?|ftp|file)://[^\s<>\"']+|(?<![\w@.])www\.[^\s<>\"']+"
    r"|(?<![\w@./-])(?:[\w-]{1,40}\.){1,4}(?:com|org|net|me|be|ly|gg|gl|io|tv|co|de|uk|fr|es|it|ch|eu|app|dev|ee)/[^\s<>\"']+",
    re.IGNORECASE,
)
_LINK_END = ".,;:!?)]}'\"*"
_MEDIA = re.compile(
    r"<(?:media|medien|m[ée]dia|m[íi]dia|multimedia|archivo|file|attachment|attached|anhang|adjunto|allegato|bijlage|image|video|"
    r"audio|sticker|gif|photo)\b[^<>\n]{0,80}>"
    r"|\b(?:image|video|audio|sticker|gif|document|contact card|photo|voice message)\s+omitted\b"
    r"|\b(?:Bild|Video|Audio|Sticker|GIF|Dokument|Kontaktkarte|Medien)\s+(?:weggelassen|ausgeschlossen)"
    r"|<(?:Multimedia omitido|M[íi]dia oculta|M[ée]dias? omis|Media omessi|Media weggelaten|Без медиафайлов)>"
    r"|\b[\w-]{1,60}\.(?:jpe?g|png|gif|webp|heic|mp4|mov|opus|ogg|m4a|aac|pdf|docx?|xlsx?|vcf)"
    r"\s*\((?:file attached|Datei angeh[äa]ngt|archivo adjunto|fichier joint|arquivo anexado|file allegato|bestand bijgevoegd)\)"
    r"|\[(?:photo|image|video|sticker|gif|voice(?: message)?|audio|file|attachment|location|contact|poll)\]",
    re.IGNORECASE,
)
_EDITED = re.compile(
    r"\s*(?:<This message was edited>|<Diese Nachricht wurde bearbeitet[.]?>|<Se edit[óo] este mensaje[.]?>"
    r"|<Ce message a [ée]t[ée] modifi[ée][.]?>|\((?:edited|bearbeitet|editado|modifi[ée])\))\s*\Z",
    re.IGNORECASE,
)
_NOTICES = re.compile(
    r"(?:this message was deleted|you deleted this message|message deleted|deleted message|diese nachricht wurde gel[öo]scht"
    r"|du hast diese nachricht gel[öo]scht|se elimin[óo] este mensaje|eliminaste este mensaje|este mensaje fue eliminado"
    r"|ce message a [ée]t[ée] supprim[ée]|vous avez supprim[ée] ce message|mensagem apagada|questo messaggio [èe] stato eliminato"
    r"|missed (?:group )?(?:voice|video) call(?: at .{1,20})?|verpasster (?:sprach|video)anruf(?: um .{1,20})?"
    r"|(?:voice|video) call, .{1,30}|waiting for this message\. this may take a while\.?|null"
    r"|pinned a message|live location shared|location: .{1,200})[.!]?",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"(?:/[a-z][\w@]{1,40}|[!$?.;-](?=[a-z])[a-z]{3,20})(?:\s.{0,300})?", re.DOTALL)
_CALLS = re.compile(
    r"[!$?.;-](?:play|skip|queue|stop|pause|resume|loop|help|ping|roll|rank|level|daily|work|bet|kick|ban|mute|warn|purge|"
    r"remind(?:me)?|weather|gif|meme|poll|translate|np|join|leave|volume|shuffle|lyrics)\b"
)
"""What bots are told after such a sign; people begin sentences with it too."""
_WROTE = re.compile(
    r"\n(?:On .{4,120} wrote:|Am .{4,120} schrieb .{1,80}:|Le .{4,120} a [ée]crit ?:|-{2,}\s?(?:Original Message|Urspr[üu]ngliche "
    r"Nachricht|Forwarded message)\s?-{2,}|-- ?\n|Sent from my \w+|Von meinem \w+ gesendet)",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"(?:^>(?!:)[^\n]*\n?)+", re.MULTILINE)
_BLANKS = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n ?(?:\n ?)+")


def cleaned(text: str) -> str:
    """What its writer said; '' for what nobody typed: media, notices, commands to bots, what is pasted."""
    if not text.isascii():
        text = _UNSEEN.sub("", unicodedata.normalize("NFC", text))
    text = _CONTROLS.sub(" ", text.replace("\r\n", "\n"))
    if len(text) > MOST * 4:
        return ""
    if "<" in text or "omitted" in text or "." in text or "[" in text or "weggelassen" in text:
        text = _MEDIA.sub("", text)
    if text[-1:] in ">)":
        text = _EDITED.sub("", text)
    if "\n" in text and (end := _WROTE.search(text)) is not None:
        text = text[: end.start()]
    if ">" in text:
        text = _QUOTED.sub("", text)
    if "/" in text or "www" in text.lower():
        text = _LINKS.sub(_link, text)
    text = _LINES.sub("\n", _BLANKS.sub(" ", text)).strip()
    if _NOTICES.fullmatch(text) or _is_command(text) or len(text) > MOST:
        return ""
    return text


def _link(found: re.Match[str]) -> str:
    """What ends the sentence is no part of the address."""
    said = found[0]
    return LINK + said[len(said.rstrip(_LINK_END)) :]


def _is_command(text: str) -> bool:
    if text[:1] not in "/!$?.;-" or not _COMMAND.fullmatch(text):
        return False
    return (text[0] == "/" and "/" not in text[1:].split(maxsplit=1)[0]) or _CALLS.match(text) is not None
