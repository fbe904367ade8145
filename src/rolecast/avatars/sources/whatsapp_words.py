"""What WhatsApp writes into chats itself: names of media, deleted messages, who joined, in several languages.

An iPhone puts U+200E before whatever it writes itself, in any language; an Android phone does not, so its words are
listed. What is not known here stays a message.
"""

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

from rolecast.avatars.sources.words import name_of

_OURS = "\u200e"
_OMITTED = re.compile(
    r"<(?:media omitted|medien ausgeschlossen|multimedia omitido|archivo omitido|médias omis|fichier omis|mídia oculta"
    r"|ficheiro não revelado|media omessi|media weggelaten|medien weggelassen|без медиафайлов|pominięto multimedia"
    r"|media utelämnat|medya dahil edilmedi|view once voice message omitted|video note omitted"
    r"|média omis|media tidak disertakan|تم استبعاد الوسائط|המדיה לא נכללה|省略多媒体文件|省略多媒體檔案"
    r"|メディアは含まれていません|미디어 파일을 제외한 내용|मीडिया के बिना|media jätetty pois|medier udeladt)>",
    re.IGNORECASE,
)
_FILE = re.compile(
    r"[^\n]{1,200}\.\w{2,5} \((?:file attached|datei angehängt|archivo adjunto|fichier joint|arquivo anexado"
    r"|ficheiro anexado|file allegato|bestand bijgevoegd|файл добавлен)\)"
    r"|[A-Z]{3}-\d{8}-WA\d{4,}\.\w{2,5} \([^()\n]{3,60}\)",
    re.IGNORECASE,
)
"""In the languages that are known, and in any for the names that WhatsApp gives to its files."""
_ATTACHED = re.compile(
    r"\s*\u200e?<(?:(?:attached|angehängt|adjunto|pièce jointe|anexado|allegato|bijlage): [^<>\n]+"
    r"|[^<>:\n]{2,40}: \d{8}-[^<>\n]+)>"
)
_DELETED = re.compile(
    r"(?:this message was deleted|you deleted this message|diese nachricht wurde gelöscht"
    r"|du hast diese nachricht gelöscht|se eliminó este mensaje|eliminaste este mensaje|este mensaje fue eliminado"
    r"|ce message a été supprimé|vous avez supprimé ce message|mensagem apagada|você apagou esta mensagem"
    r"|questo messaggio è stato eliminato|hai eliminato questo messaggio|dit bericht is verwijderd"
    r"|this message was deleted by admin .{1,100}|you deleted this message as admin"
    r"|pesan ini telah dihapus|anda menghapus pesan ini|bu mesaj silindi|bu mesaj\u0131 sildiniz"
    r"|данное сообщение удалено|вы удалили данное сообщение|ta wiadomość została usunięta"
    r"|det här meddelandet raderades|تم حذف هذه الرسالة|حذفت هذه الرسالة|הודעה זו נמחקה|מחקת הודעה זו"
    r"|此消息已被?删除|您已?删除了?此消息|此訊息已被?刪除|您已?刪除了?此訊息"
    r"|このメッセージは削除されました|삭제된 메시지입니다|यह मैसेज हटा दिया गया है)[.。।]?",
    re.IGNORECASE,
)
_EDITED = re.compile(
    r"\s*\u200e?<(?:this message was edited|diese nachricht wurde bearbeitet|se editó este mensaje"
    r"|ce message a été modifié|mensagem editada|questo messaggio è stato modificato|dit bericht is bewerkt"
    r"|pesan ini diedit|bu mesaj düzenlendi|сообщение изменено|تم تعديل هذه الرسالة|ההודעה נערכה|此消息已编辑)\.?>"
    r"|\s*\u200e<[^<>\n]{3,80}>\Z",
    re.IGNORECASE,
)
_CALL = re.compile(
    r"(?:missed (?:voice|video|group voice|group video) call|verpasster (?:sprach|video)anruf|llamada perdida"
    r"|appel (?:vocal|vidéo) manqué"
    r"|live location shared|waiting for this message(?:\. this may take a while\.)?)",
    re.IGNORECASE,
)
_POLL = re.compile(
    r"(?P<poll>\w{2,20}):\n[^\n]+\n(?P<option>\w{2,20}): [^\n]*\)(?:\n(?P=option): [^\n]* \(\d+[^\n()]*\))+"
)
_PLACE = re.compile(r"[^\n:]{2,40}: https://(?:maps\.google\.com/\S*|foursquare\.com/\S+)")
"""Where somebody stood is no style, and nobody else's business."""
_VIEWED = "null"
"""What Android writes for a picture that could be seen once."""
_SYSTEM = re.compile(
    r"created group|changed the (?:subject|group)|changed this group|changed the settings"
    r"|security code (?:with|changed)|end-to-end encrypted|joined using"
    r"|changed their phone number|changed to \+| (?:added|removed) |pinned a message"
    r"|hat (?:den|die) (?:betreff|gruppe|beschreibung)"
    r"|cambió (?:el asunto|la descripción)|a changé (?:le sujet|l.objet)",
    re.IGNORECASE,
)
"""In a line without a sender that has a colon all the same."""
_NAME = 100
"""Characters of a name, at most."""
_SHORT = 160
"""What WhatsApp writes in place of a message is no longer."""
_MARKED = re.compile(f"[{_OURS}\u2066-\u2069\u202a-\u202e<(]")
"""Without any of these there is nothing to take out of a text."""


def split(rest: str) -> tuple[str, str]:
    """Who wrote it, and what. Nobody where WhatsApp did."""
    sender, colon, text = rest.partition(": ")
    if not colon and rest.endswith(":"):  # nothing on its first line
        sender, colon = rest[:-1], ":"
    name = _name(sender) if colon and len(sender) <= _NAME else ""
    return (name, text) if name else ("", rest)


@lru_cache(maxsize=4096)
def _name(sender: str) -> str:
    """A name as it is shown; '' = it is part of what WhatsApp wrote."""
    if _SYSTEM.search(sender) or any(mark in sender for mark in '"“”«»„'):
        return ""
    return name_of(sender).removeprefix("~").strip()


def is_system(text: str) -> bool:
    """Whether an iPhone wrote it itself; then its sender may be a group."""
    return text.startswith(_OURS) and not _ATTACHED.match(text)


def bracketed(text: str) -> bool:
    """Whether that may be what this phone writes in place of a medium, in whatever language."""
    return text.startswith("<") and text.rstrip().endswith(">") and 4 < len(text) < _NAME and not re.search(r"\d", text)


def said(sender: str, lines: Sequence[str], omitted: Collection[str] = ()) -> tuple[str, str]:
    """What somebody wrote of a message, and why nothing of it counts where that is so.

    `omitted`: what this file has in place of media, where that was found out.
    """
    if not sender:
        return "", "WhatsApp wrote it"
    if "<" in lines[0] and ((first := lines[0].strip()) in omitted or _OMITTED.fullmatch(first)):
        lines = lines[1:]  # what is below was written beneath the medium
    text = "\n".join(lines)
    if not _MARKED.search(text):
        return _plain(text)
    bare = _EDITED.sub("", _ATTACHED.sub("", text))
    bare = re.sub("[\u2066-\u2069\u202a-\u202e]", "", bare)
    if is_system(bare) and bare.strip(_OURS + " "):
        return "", "WhatsApp wrote it, or a name of a medium"
    bare = bare.replace(_OURS, "")
    first, _, caption = bare.partition("\n")
    if _FILE.fullmatch(first.strip()):
        bare = caption
    return _plain(bare)


def _plain(text: str) -> tuple[str, str]:
    plain = text.strip()
    if not plain:
        return "", "a medium without words"
    if plain[-1] == ")" and (poll := _POLL.fullmatch(plain)) and poll["poll"] == poll["poll"].upper():
        return "", "a poll"
    if len(plain) > _SHORT:
        return plain, ""
    if "://" in plain and _PLACE.fullmatch(plain):
        return "", "a place"
    if plain == _VIEWED or _OMITTED.fullmatch(plain):
        return "", "a medium without words"
    if _DELETED.fullmatch(plain):
        return "", "it was deleted"
    if _CALL.fullmatch(plain):
        return "", "a call"
    return plain, ""
