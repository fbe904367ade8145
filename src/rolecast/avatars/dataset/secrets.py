"""Finds what people tell each other to get in somewhere: passwords, PINs, codes of doors, answers to security questions."""

import re

from rolecast.avatars.dataset.rules import Rule, rule
from rolecast.avatars.dataset.words import NO_PASSWORDS
from rolecast.privacy.names import common

_KEYS = (
    "pass password passwords pw pwd passwort passwörter kennwort passcode passphrase passwd pswd pasword passwrd contraseña clave"
    " mdp senha wachtwoord hasło пароль lösenord parola codice code codes pin pins puk combo combination kombination wifi wlan"
    " wi fi login logins logon key otp cvv cvc 2fa token secret credentials creds alarm safe locker gate lock entsperrcode unlock"
    " zugangscode türcode geheimzahl tan passe mot código codigo hotspot vault backup recovery seed"
)
_WHAT = (
    r"(?:pass(?:\s?(?:word|code|phrase)|wd|wrd)?s?|pasword|pswd|pw|pwd|passwort|kennwort|contrase[ñn]a|clave|mdp|mot\sde\spasse"
    r"|senha|wachtwoord|has[łl]o|пароль|l[öo]senord|log\s?[io]n|credentials|creds|(?:wi-?\s?fi|wlan|hotspot|vault)(?:\s(?:key|pass(?:word)?|pw))?"
    r"|parola)"
)
_CODE = (
    r"(?:pins?(?:[ -]?(?:code|number|nummer))?|puk|passcode|geheimzahl|tan|cvv2?|cvc2?|security\scode|otp|2fa(?:\scode)?|combo|combination"
    r"|kombination|(?:zugangs|t[üu]r|entsperr|haust[üu]r|alarm|tor|bike\s?lock)?-?codes?|c[óo]digo|codice|keypad|lockbox|(?:unlock|alarm|locker|gate|safe)(?=\s(?:code|pin|combo|number|is\s(?!at|set)|it['’]?s|opens?\swith|to|=)|\s?[:=]|['’]s)"
    r"|verification\s(?:code|number)|zahlenschloss|tresor)"
)
_LINK = (
    r"(?:\s?(?::=|=>|->|→|[:=])\s?|\s(?:is|are|was|ist|es|est|é|to|auf|lautet|war|now|still|=|-|–)\s(?:now\s|still\s|jetzt\s|just\s|literally\s"
    r"|set\sto\s|like\s|basically\s|always\s|currently\s|immer\snoch\s)?|['’]s\s(?:still\s|now\s|just\s)?)"
)
_NO_FILLER = r"(?!(?:okay|for|the|and|was|is|are|not|has|been|that|this|with|from|you|your|please|but|was|too|very|wrong|again|anymore|don|didn|can|can't|should|would|could|must|needs?|gets?)\b)"
_SAID = r"[\"'`“”„«*]{0,2}(?P<v>[^\s\"'`“”„«»]{3,64})"
_TRIM = ".,;:!?)]}*"


def _is_thought_up(value: str) -> bool:
    """Whether it looks like a password: letters and digits, or signs within."""
    bare = value.rstrip(_TRIM)
    letters = sum(map(str.isalpha, bare))
    digits = sum(map(str.isdigit, bare))
    signs = any(not sign.isalnum() and sign not in "'’-/.," for sign in bare)
    if _MEASURE.fullmatch(bare) or _TIME.fullmatch(bare):
        return False
    return len(bare) >= 5 and bool(letters and (digits or signs)) and not bare.startswith(("@", "[", "http"))


def _is_word_for_it(value: str) -> bool:
    """What follows `the password is`: any word that says nothing about passwords."""
    bare = value.rstrip(_TRIM)
    return len(bare) >= 3 and bare.casefold() not in NO_PASSWORDS and not bare.startswith("[")


def _is_odd(value: str) -> bool:
    """No word of English."""
    bare = value.rstrip(_TRIM)
    return len(bare) >= 5 and bare.casefold() not in common() and bare.casefold() not in NO_PASSWORDS


def _is_code(value: str) -> bool:
    return sum(map(str.isdigit, value)) >= 3 and not _TIME.fullmatch(value) and not _MEASURE.fullmatch(value)


_MEASURE = re.compile(
    r"[~$€£]?\d[\d.,]*(?:st|nd|rd|th|am|pm|h|hr|hrs|k|m|km|kg|g|mg|ml|cm|mm|l|x|s|sec|min|mins|%|gb|mb|tb|mbps|ghz|mhz|hz|kb|p|fps|in|ft|lbs?|oz|mph"
    r"|bucks|eur|usd|°?c|°?f|ish|er|€|\$|£|px|d|w|kw|kwh|v|a|mah|bn|yo|y|yrs?|days?|weeks?|months?|years?|hours?|minutes?|seconds?|times|people|"
    r"uhr|mal|jahre|euros?|dollars?)?(?:[-/+].*)?",
    re.IGNORECASE,
)
_TIME = re.compile(r"\d{1,2}[:.h]\d{2}(?:\s?[ap]m)?|(?:19|20)\d\d(?:s|er)?|\d{1,2}/\d{1,2}(?:/\d{2,4})?", re.IGNORECASE)
_MODEL = re.compile(
    r"(?:iphone|ipad|galaxy|pixel|ps|xbox|windows|win|macos|ios|android|gpt|claude|llama|covid|formula|rtx|gtx|ryzen|python|h\.?26|mp|"
    r"playstation|switch|airpods|area|blink|level|season|episode|route|gate|terminal|platform|room|channel|euro|fifa|nba2k|usb|html|css|es|web|v|bmw|"
    r"audi|boeing|airbus|a|b|c|d|e|f|g|i|m|n|q|s|x|ch|pt|vol|no|nr|ep|kw|q)-?\d+\w{0,8}",
    re.IGNORECASE,
)


_NAMED = re.compile(r"[A-Za-z]+\d{1,4}(?:\.\d+){0,3}")
"""A word with a number, as versions of things are called: a password only where something says so."""


def _is_random(value: str) -> bool:
    """Whether nobody says that as a word: letters of both cases, digits, of some length, no name of a model."""
    bare = value.rstrip(_TRIM)
    if _MODEL.fullmatch(bare) or _MEASURE.fullmatch(bare):
        return False
    if _NAMED.fullmatch(bare):
        return False
    signs = any(sign in "!@#$%^&*?+~=_" for sign in bare)
    digits = sum(map(str.isdigit, bare))
    upper, lower = any(map(str.isupper, bare)), any(map(str.islower, bare))
    return (
        len(bare) >= 8
        and digits >= 1
        and lower
        and ((upper and signs) or (upper and digits >= 3) or (signs and digits >= 2 and "@" not in bare))
    )


def _is_key(value: str) -> bool:
    """Hexadecimal or base 64 of some length, with digits and letters through each other."""
    digits, letters = sum(map(str.isdigit, value)), sum(map(str.isalpha, value))
    return digits >= 3 and letters >= 3


_PLAIN = _KEYS.replace(" gate", "").replace(" lock ", " ")
SECRETS: tuple[Rule, ...] = (
    # my password is X, pw: X, wifi = X
    rule(
        "passwords",
        rf"(?<!\w){_WHAT}(?:\s(?!is\b|are\b|to\b|now\b)(?:for|of|on|at|to|the|my|our|für|vom|del?|du|[\w’'-]{{2,20}})){{0,5}}{_LINK}{_SAID}",
        digits=False,
        words=_KEYS,
        fits=lambda v: _is_thought_up(v) or (_is_code(v) and len(v) < 24),
    ),
    rule(
        "passwords",
        rf"(?<!\w){_WHAT}\s?(?:[:=]|->|→|is:?|ist:?|es|est|lautet)\s?(?:now\s|still\s|jetzt\s|just\s)?{_SAID}(?=[\s.,;!?\"'”)]*(?:\Z|\n|[.,;!?]))",
        digits=False,
        words=_KEYS,
        fits=_is_word_for_it,
    ),
    rule(
        "passwords",
        rf"(?<!\w){_WHAT}\s?(?:[:=]|->|→|is:?|ist:?)\s?(?:now\s|still\s|just\s)?{_SAID}",
        digits=False,
        words=_KEYS,
        fits=_is_odd,
    ),
    rule(
        "passwords",
        rf"(?<!\w){_WHAT}(?:\s(?:for|to|of|on)\s(?:the\s|my\s|our\s)?[\w’'-]{{2,20}})?\s?(?:[:=]|->|→|is|ist)\s?[\"'`“„«](?P<v>[^\"'`”“»\n]{{3,60}})[\"'`”“»]",
        digits=False,
        words=_KEYS,
    ),
    rule(
        "passwords",
        rf"(?<!\w)(?:passphrase|(?:seed|recovery|backup|wallet|mnemonic)\s(?:phrase|words))\s?(?:[:=]|is:?|are:?|now)?\s?(?P<v>(?:{_NO_FILLER}[a-z]{{3,14}}[ ,-]{{1,2}}){{2,24}}{_NO_FILLER}[a-z]{{3,14}})",
        digits=False,
        words="passphrase seed recovery backup wallet mnemonic",
    ),
    rule(
        "passwords",
        r"(?<!\w)(?:pass(?:word)?|pw|pwd|passwort|wifi|wlan|wi-fi|login)\s(?P<v>[^\s\"'`]{6,40})",
        digits=False,
        words=_KEYS,
        fits=_is_thought_up,
    ),
    rule(
        "passwords",
        r"(?<!\w)(?:pass(?:word)?|pw|passwort)[^\n]{0,40}[\s\"'`(](?P<v>[^\s\"'`()]{8,40})",
        words=_KEYS,
        fits=_is_random,
    ),
    rule(
        "passwords",
        r"\b(?:network|ssid|wi-?fi|wlan|hotspot|router|netzwerk)\b[^\n]{0,30}?\b(?:key|pass\w*|pw|schl[üu]ssel)\s(?P<v>[^\s\"'`]{6,40})",
        digits=False,
        words="network ssid wifi wi wlan hotspot router netzwerk",
        fits=_is_thought_up,
    ),
    rule(
        "passwords",
        r"\b(?:network|ssid|wi-?fi\sname|wlan\sname|netzwerk)\s(?:is\s|called\s|name\s|:\s?)?(?P<v>[A-Za-z0-9]+[_-][\w-]{2,30})",
        digits=False,
        words="network ssid wifi wi wlan netzwerk",
    ),
    rule(
        "passwords",
        r"\bkey\s(?:is\s|:\s?)?(?P<v>[A-Za-z]{4,20}\d{2,8}[!?#*]?)(?!\w)",
        words="key",
        fits=lambda v: not _MODEL.fullmatch(v),
    ),
    # i changed it to X
    rule(
        "passwords",
        r"\b(?:changed?|changing|reset|set|updated?|switched|made|geändert|gesetzt|umgestellt|cambi[éeo]d?o?|changé)\b(?:\s[\w’'-]{1,14}){0,5}?\s(?:(?:back\s)?to|auf|in|zu|a|en|por|it)\s"
        + _SAID,
        digits=True,
        fits=lambda v: _is_thought_up(v) and not _MODEL.fullmatch(v.rstrip(_TRIM)),
    ),
    # X is the password; use X to log in
    rule(
        "passwords",
        rf"(?<!\S)[\"'`“„]?(?P<v>[^\s\"'`“”„,:]{{5,40}})[\"'`”“]?\s(?:is|was|as|ist|als|=)\s(?:the|my|our|your|his|her|a|das|mein|unser|ur)?\s?(?:\w+\s){{0,3}}{_WHAT}\b",
        digits=False,
        words=_KEYS,
        fits=lambda v: _is_thought_up(v) or _is_code(v),
    ),
    rule(
        "passwords",
        r"\b(?:log\s?in|sign\s?in|unlock|get\sin|connect|use|try|type|enter|einloggen|anmelden|entsperren)\b(?:\s[\w’'-]{1,12}){0,3}?\s(?:with|using|as|mit|in|con)?\s?"
        + _SAID,
        words="log login sign unlock connect use try type enter einloggen anmelden entsperren get",
        fits=_is_random,
    ),
    rule("passwords", r"(?<![\w/.@#-])(?P<v>[A-Za-z0-9!$%^&*?+~=_#@-]{8,40})(?![\w/@-])", case=True, fits=_is_random),
    # user / password in a pair
    rule(
        "passwords",
        r"\b(?:user(?:name)?|login|log|benutzer|usuario)\s?[:=]?\s?\S{2,40}?\s?(?:/|,|and|und|y|;|\|)\s?(?:pass(?:word)?|pw|passwort)?\s?[:=]?\s?(?P<v>[^\s,;]{6,40})",
        words="user username login benutzer usuario",
        fits=_is_thought_up,
    ),
    # codes: my pin is 4821, the gate is 4471#
    rule(
        "codes",
        rf"(?<!\w){_CODE}(?:\s(?:for|of|on|at|to|the|my|our|is|für|vom|de|del|am|an|der|die|das|zum|zur|(?!(?:lines?|errors?|pages?|status|version|opens?|closes?|closed|leaves|starts|issue|steps?|chapter|http|since|until)\b)[^\W\d][\w’'-]{{1,15}})){{0,6}}?(?:{_LINK}|\s)(?:(?!lines?\b|errors?\b|pages?\b|version\b|issue\b|steps?\b)[^\W\d]{{1,8}}\s)?[\"'`*]{{0,2}}(?P<v>[#*]?(?:[A-Z]-?)?\d(?:[ -]?\d){{2,15}}(?:[ -]?[A-Z])?[#*]?)(?![\w%€$£]|\s?(?:people|euro|eur|usd|dollars|€|minutes?|min|km|miles|times|am|pm|uhr|lines|files|errors|pages|years?|days?|hours?|weeks?|met(?:er|re)s?|m|ms|feet|users|likes)\b)",
        words=_KEYS + " geheimzahl keypad lockbox verification security tresor zahlenschloss haustürcode bike",
    ),
    rule(
        "codes",
        rf"(?<![\w$€£.,:/-])(?P<v>[#*]?\d(?:[ -]?\d){{2,7}}[#*]?)\s?(?:is|['’]s|=|opens|unlocks|gets\syou\s(?:in|into)|works\s(?:for|on)|for|ist|für|to\sget|then)\s(?:the|my|our|your|der|die|das|den|mein\w*|into|in|through)?\s?(?:\w{{1,12}}\s){{0,2}}(?:{_CODE}|gate|locker|safe|alarm|door|front\sdoor|garage|t[üu]r|phone|shed|padlock|building|elevator|entrance|buzzer)\b",
        words=_KEYS + " door garage tür phone shed padlock building elevator entrance buzzer keypad lockbox",
    ),
    rule(
        "codes",
        r"\b(?:door|garage|gate|front\sdoor|shed|padlock|building|entrance|buzzer|intercom|keypad|haust[üu]r|garagentor|bike\slock|suitcase|phone\s(?:lock|unlock\w*)|alarm|safe|locker|lockbox)\b[^\n\d]{0,30}?(?:code|combo|number|press|punch|type|enter|dial|is|:|=)[^\n\d]{0,14}(?P<v>[#*]?\d(?:[ -]?\d){2,7}[#*]?)(?![\w%€$£]|\s?(?:people|euro|dollars|minutes?|min|km|miles|am|pm|kg|m|met(?:er|re)s?|feet|cm|years?|days?|weeks?|bucks)\b)",
        words="door garage gate shed padlock building entrance buzzer intercom keypad haustür garagentor bike suitcase phone alarm safe locker lockbox",
    ),
    rule(
        "codes",
        r"\b(?:combo|combination|kombination|lock|safe|locker|tresor)\b[^\n\d]{0,40}(?P<v>\d{1,2}(?:\s?[-–,/ ]\s?\d{1,2}){2,5})(?!\w)",
        words="combo combination kombination lock safe locker tresor",
    ),
    rule(
        "codes",
        r"\b(?:expir(?:y|es|ation)|exp|valid\s(?:thru|until)|g[üu]ltig\sbis)\b[^\n\d]{0,12}(?P<v>(?:0?[1-9]|1[0-2])\s?[/-]\s?(?:20)?\d{2})(?!\d)",
        words="expiry expires expiration exp valid gültig",
    ),
    rule(
        "codes",
        r"\b(?:card|account|konto|iban|phone|number|visa|amex|mastercard|karte|ssn|social|passport)\b[^\n\d]{0,20}\b(?:end(?:s|ing)?(?:\sin|\swith)?|last\s(?:four|4)(?:\sdigits)?(?:\sare)?|endet\sauf|letzten\s(?:vier|4))\D{0,6}(?P<v>\d{3,6})\b",
        words="card account konto iban phone number visa amex mastercard karte ssn social passport",
    ),
    rule(
        "codes", r"\blast\s(?:four|4)\s(?:digits\s)?(?:of\s[^\n\d]{2,40})?(?:is|are|:)?\s?(?P<v>\d{4})\b", words="last"
    ),
    rule("codes", r"\blocker\s(?:no\.?\s|number\s|nr\.?\s)?(?P<v>\d{2,4})\b", words="locker"),
    rule(
        "codes",
        r"\b(?:unlock|lock|screen|phone)\s?pattern\b[^\n\d]{0,16}(?P<v>\d(?:\s?[-, ]?\s?\d){3,9})(?!\w)",
        words="pattern",
    ),
    # keys without a prefix
    rule(
        "keys",
        r"\b(?:api|access|secret|license|licence|serial|product|activation|encryption|private|auth|recovery|backup|bearer|app|ssh|aes|hex|client|signing|session|webhook|s3|aws|stripe|lizenz)?[ _-]?(?:keys?|tokens?|secrets?|hash|schl[üu]ssel|apikey|codes?)\b[^\n]{0,24}?[\s:=\"'`](?P<v>[A-Za-z0-9+/_=-]{12,256})(?![\w])",
        words="key keys token tokens secret secrets hash schlüssel apikey code codes",
        fits=_is_key,
    ),
    rule(
        "keys",
        r"(?<![\w/.=#-])(?P<v>(?=[A-Za-z0-9+/_-]{0,60}[A-Z])(?=[A-Za-z0-9+/_-]{0,60}[a-z])(?=[A-Za-z0-9+/_-]{0,60}\d)[A-Za-z0-9+/_-]{20,256}={0,2})(?![\w/.])",
        case=True,
        fits=_is_key,
    ),
    rule("keys", r"(?<![\w/-])(?P<v>(?:[A-Z0-9]{4,6}-){3,7}[A-Z0-9]{4,6})(?![\w-])", case=True, fits=_is_key),
    rule(
        "keys",
        r"(?<!\w)(?:0x[0-9a-f]{40}|0x[0-9a-f]{64}|bc1[a-z0-9]{25,62}|[13][A-HJ-NP-Za-km-z1-9]{26,34})(?!\w)",
        case=True,
    ),
    rule("keys", r"(?<![\w:-])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:-])"),
    # answers to security questions
    rule(
        "answers",
        r"\bmaiden\s?name\s?(?:is|was|=|:)?\s?(?P<v>(?!is\b|was\b)[^\W\d_]{3,20}(?:-[^\W\d_]{3,20})?)",
        digits=False,
        words="maiden",
        fits=_is_word_for_it,
    ),
    rule(
        "answers",
        r"\b(?:first|childhood)\s(?:pet|dog|cat|car|teacher|street|school)(?:'s\sname)?\s(?:was\scalled|is\scalled|was\snamed|name\swas|was|is|:)\s?(?P<v>(?:Mrs?\.?\s)?[A-Z][^\W\d_]{2,20})",
        digits=False,
        words="pet dog cat car teacher street school",
        case=True,
    ),
    rule(
        "answers",
        r"\b(?:security|secret|sicherheits)\s?-?(?:question|answer|frage|antwort)\w*[^\n]{0,40}?(?:is|:|=|ist)\s?(?P<v>[^\s,.;!?]{3,30})",
        digits=False,
        words="security secret sicherheits",
        fits=_is_word_for_it,
    ),
    rule("answers", r"\bgeburtsname\s(?:ist|war|:)?\s?(?P<v>[^\W\d_]{3,20})", digits=False, words="geburtsname"),
)
