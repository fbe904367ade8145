"""Finds what says who somebody is: birth dates, user names, number plates, numbers of passports and of members."""

import re

from rolecast.avatars.dataset.rules import Rule, rule
from rolecast.avatars.dataset.words import NO_HANDLES
from rolecast.privacy.names import common

_MONTHS = (
    r"(?:jan(?:uary|uar|vier)?|feb(?:ruary|ruar)?|f[ée]vr?(?:ier)?|mar(?:ch|s|zo)?|m[äa]rz|apr(?:il|ile)?|avril|abr(?:il)?|may|mai|mayo|maggio|june?|juni|juin|junio|giugno"
    r"|july?|juli|juillet|julio|luglio|aug(?:ust)?|ao[ûu]t|agosto|sept?(?:ember|embre|iembre|tembre)?|oct(?:ober|obre|ubre)?|okt(?:ober)?|ottobre|nov(?:ember|embre|iembre)?"
    r"|dec(?:ember)?|d[ée]c(?:embre)?|dez(?:ember)?|dic(?:iembre|embre)?|enero|febrero|ene|gennaio|febbraio|janeiro|fevereiro|mar[çc]o|maio|junho|julho|setembro|outubro|novembro|dezembro)"
)
_YEAR = r"(?:(?:19|20)\d\d|['’]?\d{2})"
_DATE = (
    rf"(?:\d{{1,2}}\s?[./-]\s?\d{{1,2}}(?:\s?[./-]\s?(?:(?:19|20)?\d\d))?\.?|(?:19|20)\d\d[-/.]\d{{1,2}}[-/.]\d{{1,2}}"
    rf"|(?:the\s)?\d{{1,2}}(?:st|nd|rd|th|er|º|\.)?\s(?:of\s|de\s)?{_MONTHS}\b\.?(?:,?\s(?:de\s|of\s)?{_YEAR}(?!\w))?"
    rf"|{_MONTHS}\b\.?\s(?:the\s)?\d{{1,2}}(?:st|nd|rd|th)?(?![\d:])(?:,?\s{_YEAR}(?!\w|:))?"
    rf"|{_MONTHS}\b\.?\s(?:of\s)?(?:19|20)\d\d|\d{{4}}年\d{{1,2}}月\d{{1,2}}日)"
)
_BORN = "born birthday bday birthdate birth dob geboren geburtstag geb geburtsdatum née né naissance anniversaire nacido nacida nací cumpleaños cumple nascimento nasci nascido nato nata compleanno b turn turns turned turning geburts birthdays bdays birthyear jahrgang doğum urodzony urodziny rođendan verjaardag jarig fødselsdag född aniversário"
_ABOUT = (
    r"(?:\bborn\b|\bb-?day\b|\bbirthday\b|\bbirth\s?date\b|\bdate\sof\sbirth\b|\bd\.?o\.?b\b\.?|\bgeboren\b|\bgeburtstag\b|\bgeburtsdatum\b|\bgeb\.|\bn[ée]e?\b\s(?:le|en)|\bnaissance\b"
    r"|\banniversaire\b|\bnacid[oa]\b|\bnac[íi]\b|\bcumplea[ñn]os\b|\bcumple\b|\bnascimento\b|\bnasci(?:do|da)?\b|\bnat[oa]\s(?:il|nel)|\bcompleanno\b|\bverjaardag\b|\bjarig\b|\bf[öø](?:dd|dselsdag)\b|\banivers[áa]rio\b"
    r"|\burodz\w+|\bturn(?:s|ed|ing)?\s\d{1,2}\b)"
)
_HANDLES = "insta instagram ig snap snapchat telegram tg twitter discord tiktok skype steam psn gamertag username user handle nick nickname xbox twitch reddit github wechat line kik venmo cashapp paypal bluesky mastodon linkedin facebook fb threads signal benutzername usuario id login epic battlenet roblox onlyfans tinder bumble spotify x"
_AT = (
    r"(?:insta(?:gram)?|ig|snap(?:chat)?|telegram|tg|twitter|discord|tiktok|skype|steam|psn|gamertag|xbox|twitch|reddit|github|wechat|line|kik|venmo|cash\s?app|paypal|bluesky|mastodon"
    r"|linkedin|facebook|fb|threads|signal|epic|battle\.?net|roblox|spotify|user\s?name|user|handle|nick(?:name)?|benutzername|usuario)"
)


def _is_handle(value: str) -> bool:
    bare = value.strip(".,;:!?)*_")
    if len(bare) < 4 or bare.casefold() in NO_HANDLES:
        return False
    marked = any(sign.isdigit() or sign in "_." for sign in bare[1:])
    return marked or bare.casefold() not in common()


def _has_number(value: str) -> bool:
    return sum(map(str.isdigit, value)) >= 3


def _is_number_like(value: str) -> bool:
    return sum(map(str.isdigit, value)) >= 4 and any(sign.isdigit() for sign in value[-4:])


_DOCUMENT = (
    r"(?:passports?|reisepass|pasaporte|passeport|passaporto|s\.?s\.?n\.?|social(?:\ssecurity)?|national\sinsurance|ni\s(?:number|no)|nino|driver['’]?s?\slicen[cs]e|driving\slicen[cs]e|licen[cs]e"
    r"|f[üu]hrerschein|id[ -]?(?:card|number|no|nr)|(?:personal)?ausweis\w*|perso|steuer-?\s?(?:id|nummer)|tax\s?(?:id|number|payer)|tin|itin|ein|personnummer|dni|nie|nif|codice\sfiscale|cpf|bsn"
    r"|aadhaar|aadhar|pan(?:\scard)?|nhs(?:\snumber)?|medicare|medicaid|insurance|versicherungs\w*|sozialversicherungs\w*|krankenversicherungs\w*|krankenkasse\w*|policy|member(?:ship)?|acc|bsb|customer|kundennummer|kunden-?nr"
    r"|account|acct|konto(?:nummer)?|routing|sort\scode|bic|swift|iban|blz|bankleitzahl|booking(?:\sref(?:erence)?)?|buchungs\w*|confirmation|pnr|reservation|tracking|student|employee|staff|personal|matrikel\w*|patient|medical\srecord"
    r"|mrn|prescription|vin|imei|serial(?:\snumber)?|seriennummer|frequent\sflyer|loyalty|green\scard|visa\snumber|residence\spermit|aufenthaltstitel|case|claim|reference|ref|aktenzeichen|badge)"
)
_DOCUMENTS = (
    "passport passports reisepass pasaporte passeport passaporto ssn s social national ni nino driver drivers driving license licence führerschein id ausweis personalausweis perso steuer tax tin itin ein personnummer dni nie nif"
    " codice cpf bsn aadhaar aadhar pan nhs medicare medicaid insurance policy member membership customer acc bsb kundennummer kunden account acct konto kontonummer routing sort bic swift iban blz bankleitzahl booking confirmation pnr"
    " reservation tracking student employee staff personal matrikelnummer patient medical mrn prescription vin imei serial seriennummer frequent loyalty green visa residence aufenthaltstitel case claim reference ref aktenzeichen badge"
    " versicherungsnummer sozialversicherungsnummer krankenversicherungsnummer krankenkassennummer ausweisnummer buchungsnummer buchungscode versichertennummer personalausweisnummer reisepassnummer steuernummer"
)
_PLATES = "plate plates license licence registration reg kennzeichen nummernschild plaque matrícula matricula targa car rego tag kenteken immatriculation auto"
_DIGIT_WORD = r"(?:zero|oh|o|one|two|three|four|five|six|seven|eight|nine|double|triple|null|eins|zwo|zwei|drei|vier|fünf|fuenf|sechs|sieben|acht|neun|cero|uno|dos|tres|cuatro|cinco|seis|siete|ocho|nueve|un|deux|trois|quatre|cinq|sept|huit|neuf)"
_IS_DATE = re.compile(
    r"\d{1,2}[./-]\d{1,2}[./-](?:\d{2}|\d{4})\Z|\d{4}[./-]\d{1,2}[./-]\d{1,2}|(?:19|20)\d\d\s?-\s?(?:19|20)\d\d"
)
PERSONS: tuple[Rule, ...] = (
    # births
    rule("births", rf"{_ABOUT}[^\n\d]{{0,40}}?(?P<v>(?<![\d:]){_DATE})", words=_BORN),
    rule(
        "births",
        rf"{_ABOUT}\s(?:back\s)?(?:in\s|am\s|im\s|jahr\s|en\s|nel\s|on\sa\s\w{{3,9}}\sin\s)*(?P<v>(?:19[2-9]\d|20[0-2]\d|['’]\d\d|(?<=in\s)[4-9]\d|0\d)(?!\w))",
        words=_BORN,
    ),
    rule(
        "births",
        rf"(?<![\d:/.-])(?P<v>{_DATE})\s?(?:is|['’]s|ist|es|was|=|,|-)?\s?(?:also\s)?(?:the\s|my|mine|his|her|our|mein|sein|ihr|mi|mon|when|\w+['’]s)?\s?(?:\w+\s){{0,2}}?(?:birth\s?day|bday|b-day|dob|birth\sdate|geburtstag|cumple(?:años)?|anniversaire|i\swas\sborn|(?:i|he|she)\s(?:turn|get)s?\s\d\d)\b",
        words=_BORN,
    ),
    rule(
        "births",
        rf"\b(?:turn(?:s|ing|ed)?|werde|wird|turns)\s\d{{1,2}}\s(?:on|am|this|next)?\s?(?P<v>{_DATE})",
        words="turn turns turning turned werde wird",
    ),
    rule(
        "births",
        r"\b(?:birth\s?year|year\sof\sbirth|jahrgang|geburtsjahr)\s?(?:is|:|ist|was)?\s?(?P<v>(?:19|20)\d\d|['’]\d\d)\b",
        words="birth birthyear jahrgang geburtsjahr",
    ),
    rule(
        "births",
        r"\b(?:19[3-9]\d|20[01]\d)\s?(?:er\s)?(?:baby|kid|born|jahrgang|vintage)\b",
        words="baby kid born jahrgang vintage",
    ),
    rule(
        "births",
        rf"(?<![\d:/.-])(?:the\s)?\d{{1,2}}(?:st|nd|rd|th|\.)?\s(?:of\s|de\s)?{_MONTHS}\b\.?,?\s(?:de\s)?(?:19[3-9]\d|200\d)(?!\w)|\b{_MONTHS}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s(?:19[3-9]\d|200\d)(?!\w)",
    ),
    # user names
    rule(
        "handles",
        rf"\b{_AT}\s(?:id|name|handle|user|tag|account)?\s?(?P<v>[A-Za-z0-9][A-Za-z0-9_.-]{{2,30}}[A-Za-z0-9_])(?![\w:%])",
        digits=False,
        words=_HANDLES,
        fits=lambda v: any(s == "_" for s in v) or (any(map(str.isdigit, v)) and v[0].isalpha() and len(v) > 5),
    ),
    rule(
        "handles",
        r"(?<![\w@])(?:paypal\.me|cash\.app|venmo\.com|instagram\.com|tiktok\.com|twitter\.com|x\.com|facebook\.com|linkedin\.com/in|github\.com|t\.me|wa\.me|twitch\.tv|onlyfans\.com|ko-fi\.com|snapchat\.com/add|steamcommunity\.com/id|revolut\.me|discord\.gg|linktr\.ee)/[^\s<>\"']{2,80}",
        sign="/",
        digits=False,
    ),
    rule(
        "handles",
        r"(?<![\w@.])@(?P<v>[A-Za-z0-9_](?:[A-Za-z0-9_.-]{1,38})[A-Za-z0-9_])(?![\w@])(?!\.[a-z]{2,})",
        sign="@",
        digits=False,
        fits=_is_handle,
    ),
    rule("handles", r"(?<![\w@.])@[A-Za-z0-9_.-]{2,30}@[a-z0-9-]+\.[a-z]{2,10}", sign="@", digits=False),
    rule("handles", r"(?<![\w#/])(?P<v>[\w.-]{2,32}#\d{4,5})(?!\w)"),
    rule(
        "handles",
        rf"\b{_AT}\b\s?(?:name|handle|account|username|tag|id|user)?s?\s?(?:is|['’]s|ist|es|:|=|->|→|@)\s?[\"'`“]?@?(?P<v>[A-Za-z0-9_][A-Za-z0-9_.-]{{2,30}}[A-Za-z0-9_])",
        digits=False,
        words=_HANDLES,
        fits=lambda v: _is_handle(v) and (any(s.isdigit() or s in "_." for s in v) or v.casefold() not in common()),
    ),
    rule(
        "handles",
        rf"\b(?:add|follow|find|message|dm|hmu|hit\sme\sup|i['’]?m|im)\b[^\n]{{0,12}}?(?:\son\s{_AT}\s?[:,-]?\s?)(?:as\s|at\s|under\s|@)?(?P<v>[A-Za-z0-9_][A-Za-z0-9_.-]{{2,30}}[A-Za-z0-9_])",
        digits=False,
        words="add follow find message dm hmu hit im m",
        fits=lambda v: any(s.isdigit() or s in "_." for s in v.strip(".")) or v.casefold() not in common(),
    ),
    rule(
        "handles",
        rf"(?<![\w@.])(?P<v>[A-Za-z][A-Za-z0-9_.]{{2,30}}[A-Za-z0-9_])\s(?:on|is\smy)\s{_AT}\b",
        digits=False,
        words=_HANDLES,
        fits=lambda v: any(s.isdigit() or s in "_." for s in v),
    ),
    # number plates
    rule(
        "plates",
        r"\b(?:number\s?plates?|licen[cs]e\s?plates?|plates?|registration|reg|rego|kennzeichen|nummernschild|plaque(?:\sd['’]immatriculation)?|immatriculation|matr[íi]cula|targa|kenteken|tags?)\b\s?(?:number|no|nr)?\.?[^\n]{0,24}?(?<![\w$€£])(?-i:(?P<v>[A-ZÄÖÜ0-9]{1,4}(?:[ -]?[A-Z0-9]{1,4}){1,3}))(?![\w%])",
        words=_PLATES,
        fits=lambda v: any(map(str.isdigit, v)) and any(map(str.isalpha, v)) and 4 <= len(v) <= 12,
    ),
    rule(
        "plates",
        r"\b(?:number\s?plates?|licen[cs]e\s?plates?|plates?|kennzeichen|nummernschild|rego)\b\s?(?:number|no|nr)?\.?\s?(?:is|ist|:|=)\s?(?P<v>[a-z0-9]{2,4}[ -]?[a-z0-9]{2,4}(?:[ -]?[a-z0-9]{1,4})?)(?!\w)",
        words=_PLATES,
        fits=lambda v: any(map(str.isdigit, v)) and any(map(str.isalpha, v)),
    ),
    rule(
        "plates", r"(?<![\w-])[A-ZÄÖÜ]{1,3}[- ][A-Z]{1,2}[ -]\d{1,4}[EH]?(?![\w-])", case=True, fits=lambda v: "-" in v
    ),
    rule("plates", r"(?<![\w-])[A-ZÄÖÜ]{1,3}-[A-Z]{1,2}\d{2,4}[EH]?(?![\w-])", case=True),
    rule(
        "plates",
        r"(?<![\w-])[A-HJ-PR-Y]{2}\d{2}\s?[A-HJ-PR-Z]{3}(?![\w-])|(?<![\w-])[A-HJ-NP-TV-Z]{2}-\d{3}-[A-HJ-NP-TV-Z]{2}(?![\w-])|(?<![\w-])\d{4}\s[BCDFGHJ-NPR-TV-Z]{3}(?![\w-])",
        case=True,
        fits=lambda v: not v.endswith(("CET", "GMT", "BST", "PST")),
    ),
    rule(
        "plates",
        r"(?<![\w-])(?:\d[A-Z]{3}\d{3}|[A-Z]{1,2}\s\d{2,3}\s[A-Z]{3}|[A-Z]{3}[ -]\d{3,4}|[A-Z]{2}\s\d{3,4}\s[A-Z]{2})(?![\w-])",
        case=True,
        fits=lambda v: (
            not v.startswith(
                (
                    "USD",
                    "EUR",
                    "GBP",
                    "RTX",
                    "GTX",
                    "ISO",
                    "DIN",
                    "RFC",
                    "BMW",
                    "MP",
                    "ATX",
                    "SAT",
                    "GPT",
                    "COVID",
                    "CVE",
                )
            )
        ),
    ),
    # documents and numbers of customers
    rule("documents", r"(?<!\w)[A-Z]\d{9}(?!\w)", case=True),
    rule("documents", r"\bbsb\b\s?(?:is|:|=)?\s?(?P<v>\d{3}[- ]?\d{3})", words="bsb"),
    rule(
        "documents",
        r"\bblood\s?(?:type|group)\b[^\n]{0,24}?(?P<v>(?<!\w)(?:ab|a|b|o|0)\s?(?:neg(?:ative)?|pos(?:itive)?|[+-]))(?!\w)",
        digits=False,
        words="blood",
    ),
    rule("documents", r"(?<![\w-])(?!000|666)\d{3}-\d{2}-\d{4}(?![\w-])"),
    rule("documents", r"(?<!\w)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\s?\d{2}\s?\d{2}\s?\d{2}\s?[A-D](?!\w)", case=True),
    rule(
        "documents",
        r"(?<!\w)(?:\d{8}-?[A-HJ-NP-TV-Z]|[XYZ]-?\d{7}-?[A-HJ-NP-TV-Z]|[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]|\d{3}\.\d{3}\.\d{3}-\d{2}|\d{6}[-+]\d{4}|[12]\s?\d{2}\s?(?:0[1-9]|1[0-2])\s?\d{2}\s?\d{3}\s?\d{3}\s?\d{2}|[A-Z]{5}\d{4}[A-Z])(?!\w)",
        case=True,
    ),
    rule(
        "documents",
        rf"\b{_DOCUMENT}\b\s?(?:number|no|nr|num|card|id|code|ref(?:erence)?|#|nummer)?s?\.?\s?(?:is|['’]s|ist|es|:|=|#|->|→|lautet|was|are|,|for\s[\w ]{{2,20}}\sis)?\s?(?:still\s|now\s|it['’]?s\s)?#?(?P<v>(?-i:(?:[A-Z]{{3,5}}\s)?(?:[A-Z]{{0,5}}|[a-z]))[ -]?\d(?:[A-Z0-9]|[ ./-](?=[A-Z0-9]*\d)){{3,24}}(?:-[A-Z]{{1,2}})?)(?![\w%€$]|\s?(?:people|euros?|eur|usd|dollars|€|minutes?|km|m|miles|followers|users|units|percent|days|weeks|years)\b)",
        words=_DOCUMENTS,
        fits=_is_number_like,
    ),
    rule(
        "documents",
        rf"\b{_DOCUMENT}\b[^\n\d]{{0,30}}?\b(?:is|['’]s|ist|:|=)\s(?P<v>(?-i:[A-Z0-9](?:[A-Z0-9]|[ -](?=[A-Z0-9]*\d)){{5,20}}))(?![\w%€$])",
        words=_DOCUMENTS,
        fits=_has_number,
    ),
    rule(
        "documents",
        r"\b(?:booking|confirmation|reservation|pnr|record\slocator|buchung\w*|booking\sref\w*)\b[^\n]{0,16}?(?:is|:|=|ref|code|#)\s?(?-i:(?P<v>(?=[A-Z]{0,5}\d|\d{0,5}[A-Z]{2})[A-Z0-9]{6}))(?!\w)",
        digits=False,
        words="booking confirmation reservation pnr record buchung buchungscode buchungsnummer",
    ),
    rule("documents", r"\bsort\s?code\b[^\n\d]{0,10}(?P<v>\d{2}[- ]?\d{2}[- ]?\d{2})", words="sort"),
    rule(
        "documents",
        r"\b(?:bic|swift)\b\s?(?:code|is|:|=)*\s?(?-i:(?P<v>[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?))(?!\w)",
        digits=False,
        words="bic swift",
    ),
    rule(
        "documents",
        r"(?<!\w)(?=[A-HJ-NPR-Z0-9]{0,16}\d)(?=[A-HJ-NPR-Z0-9]{0,16}[A-Z])[A-HJ-NPR-Z0-9]{17}(?!\w)",
        case=True,
        fits=_is_number_like,
    ),
    # numbers that are written in words
    rule(
        "phones",
        rf"(?<!\w)(?:{_DIGIT_WORD}[\s,.-]{{1,2}}){{3,15}}(?:{_DIGIT_WORD}|hundred|thousand|\d{{2,8}})(?:[\s,.-]{{1,2}}(?:{_DIGIT_WORD}|hundred|thousand|\d{{1,8}})){{2,15}}(?!\w)|(?<!\w)(?:{_DIGIT_WORD}[\s,.-]{{1,2}}){{3,15}}\d{{3,8}}(?!\w)",
        digits=False,
        words="zero oh one two three four five six seven eight nine null eins zwei zwo drei vier fünf sechs sieben acht neun cero uno dos tres cuatro cinco deux trois quatre cinq",
    ),
    rule(
        "phones",
        rf"\b(?:phone|number|call|text|cell|mobile|pin|code|combo|nummer|whatsapp|tel)\b[^\n\d]{{0,24}}?(?P<v>(?<!\w){_DIGIT_WORD}(?:[\s,.-]{{1,2}}{_DIGIT_WORD}){{3,15}})(?!\w)",
        digits=False,
        words="phone number call text cell mobile pin code combo nummer whatsapp tel",
    ),
    rule(
        "phones",
        r"\b(?:phone|number|call|text|cell|mobile|nummer|whatsapp|tel|handy|ring|reach|landline|office|digits|fax|erreichbar|ruf|dial|fone|celular|cel|telem[óo]vel|n[úu]mero|t[ée]l(?:[ée]phone|[ée]fono)?|m[óo]vil|portable)\b[^\n\d+]{0,30}?(?P<v>(?<![\w$€£.:/-])\+?\(?\d(?:[ ().\u00a0/-]{0,3}[\dxX]){5,15})(?![\w%€$]|[.,]\d|\s?(?:people|euros?|dollars|followers)\b)",
        words="phone number call text cell mobile nummer whatsapp tel handy ring reach landline office digits fax erreichbar ruf dial fone celular cel telemóvel telemovel número numero tél téléphone teléfono móvil movil portable",
        fits=lambda v: sum(map(str.isdigit, v)) >= 6 and not _IS_DATE.match(v),
    ),
    rule("phones", r"(?<![\w$€£.:/-])(?:\(?\d{3}\)?[ .-])?555[ .-]?\d{4}(?!\w)"),
    rule(
        "phones",
        r"(?<![\w.-])\d{3}-\d{4}(?![\w-])",
        words="call text me number cell at",
    ),
    # an address of mail as it is said
    rule(
        "emails",
        r"(?<![\w@])[\w+-]{1,30}(?:(?:\s?[\[({]?\s?(?:dot|punkt|point|punto)\s?[\])}]?\s?|\.|\s(?:underscore|dash|minus|unterstrich)\s)[\w+-]{1,30}){0,4}\s?[\[({<]?\s?(?:at|ät|@|arroba|chiocciola|arobase|klammeraffe)\s?[\])}>]?\s?[\w-]{2,40}(?:\s?[\[({]?\s?(?:dot|punkt|point|punto)\s?[\])}]?\s?|\s\.\s?|\.)(?:com|org|net|de|co|edu|gov|io|uk|fr|es|it|ch|at|eu|me|info|dev|nl|ca|us|pl|se|br|in|au|jp)\b(?:(?:\s?(?:dot|punkt)\s?|\.)(?:uk|au|br|jp|nz|in))?",
        digits=False,
        words="at ät arroba chiocciola arobase klammeraffe dot punkt",
        fits=lambda v: not v.lower().startswith(("me at", "meet at")),
    ),
    rule(
        "emails",
        r"(?<![\w@])(?P<v>[\w.+-]{3,40}(?:\s[\[(]?at[\])]?\s|\s?[\[(]?@[\])]?\s?)(?:gmail|googlemail|yahoo|hotmail|outlook|icloud|gmx|web\.de|proton(?:mail)?|aol|yandex|fastmail|tutanota|posteo|mail\.ru|qq)(?:\s?(?:dot|\.)\s?\w{2,4})?)\b",
        words="gmail googlemail yahoo hotmail outlook icloud gmx web proton protonmail aol yandex fastmail tutanota posteo mail qq",
        digits=False,
        fits=lambda v: _is_local(v),
    ),
    rule(
        "emails",
        r"\b(?:e-?mail|mail|correo|adresse)\b[^\n]{0,24}?(?:is|ist|es|:|=|me\s?at|to|at)\s(?P<v>[\w.+-]{3,40}\s(?:at\s)?(?:gmail|yahoo|hotmail|outlook|icloud|gmx|proton(?:mail)?|aol|web)(?:\s?(?:dot|\.)?\s?(?:com|de|net|me|fr|es|uk|ch|org)))\b",
        digits=False,
        words="email mail e correo adresse",
    ),
    # illnesses that nobody tells strangers of, where somebody has one
    rule(
        "health",
        r"\b(?:have|has|had|got|having|diagnosed\s(?:me\s)?with|tested\spositive\sfor|suffer(?:s|ing)?\sfrom|treated\sfor|i['’]?m|habe|hat|leide\san|diagnose|tengo|j['’]ai)\s(?:a\s|an\s|the\s|been\s|stage\s\w+\s|type\s\w+\s|severe\s|clinical\s|chronic\s|early\s)*(?P<v>hiv(?:\spositive)?|aids|herpes|chlamydia|gonorrh\w+|syphilis|hpv|hepatitis\s?[abc]?|bipolar(?:\sdisorder)?|schizophreni\w+|borderline(?:\spersonality)?|bulimi\w+|anorexi\w+|ptsd|ocd|cancer|leuk(?:a)?emi\w+|lymphoma|tumou?r|epilepsy|parkinson\w*|alzheimer\w*|dementia|multiple\ssclerosis|crohn\w*|diabetes|depression|a\smiscarriage|miscarriage|an?\sabortion|abortion|krebs|depressionen|epilepsie|c[áa]ncer|vih|sida)\b",
        digits=False,
        words="hiv aids herpes chlamydia gonorrhea gonorrhoea syphilis hpv hepatitis bipolar schizophrenia schizophrenic borderline bulimia bulimic anorexia anorexic ptsd ocd cancer leukemia leukaemia lymphoma tumor tumour epilepsy parkinson parkinsons alzheimer alzheimers dementia sclerosis crohn crohns diabetes depression miscarriage abortion krebs depressionen epilepsie cáncer vih sida",
    ),
    # cards, however grouped
    rule("cards", r"(?<![\w.-])\d{4}(?:\W{1,3}\d{4}){3}(?![\w-])"),
    rule("cards", r"(?<![\w.-])3[47]\d{2}[ .-]?\d{6}[ .-]?\d{5}(?![\w-])"),
    rule(
        "cards",
        r"\b(?:card|visa|mastercard|amex|karte|kreditkarte|tarjeta|carte|debit|credit)\b[^\n\d]{0,24}(?P<v>\d(?:[ .\-_/]{0,3}\d){11,18})(?!\w)",
        words="card visa mastercard amex karte kreditkarte tarjeta carte debit credit",
    ),
    rule(
        "codes",
        r"\b(?:cvv2?|cvc2?|csc|security\scode|pr[üu]fziffer|kartenpr[üu]fnummer)\b[^\n\d]{0,12}(?P<v>\d{3,4})(?!\w)",
        words="cvv cvc csc security prüfziffer kartenprüfnummer",
    ),
    rule(
        "ibans",
        r"(?<!\w)[A-Z]{2}\d{2}(?:[ .-]?[A-Z0-9]{4}){2,7}(?:[ .-]?[A-Z0-9]{1,4})?(?!\w)",
        case=True,
        fits=lambda v: sum(map(str.isdigit, v)) >= 10,
    ),
)


def _is_local(value: str) -> bool:
    """Whether what stands before the sign is no word of a sentence: `looked at yahoo`."""
    local = re.split(r"\s|@|\(|\[", value, maxsplit=1)[0]
    return "@" in value or any(sign.isdigit() or sign in "._+-" for sign in local) or local.casefold() not in common()
