"""Finds where somebody lives or is: postal addresses as several countries write them, postcodes, coordinates."""

import re

from rolecast.avatars.dataset.rules import Rule, rule
from rolecast.privacy.spans import Span

_NOT_BETWEEN = (
    r"(?!(?:minutes?|mins?|hours?|hrs?|days?|miles?|km|kms|meters?|metres?|m|blocks?|more|of|times|people|percent|in|on|at|the|from|to|down|up|and|or|years?|weeks?"
    r"|months?|am|pm|o'clock|euros?|dollars?|bucks|ppl|guys|kids|cars|am|is|was|for|per|a|an|different|other|big|small|way|lane|wheel|speed|way|degrees|gb|tb|mb)\b)"
)
_LONG = (
    "street road avenue lane drive boulevard court crescent terrace parkway highway close grove mews gardens quay square place"
    " alley esplanade promenade"
)
_TYPES = (
    r"(?:"
    + "|".join(_LONG.split())
    + r"|way|row|walk|hill|circle|trail|loop|strasse|gate|green|park|rise|view|heights|wharf)"
)
_SHORT = r"(?:st|rd|ave|av|ln|dr|blvd|ct|cres|pl|sq|hwy|pkwy|ter|cir|wy|gdns)"
_UNIT = r"(?:,?\s(?:apt|apartment|flat|unit|suite|ste|room|rm|floor|fl|no|appt|wohnung|whg|piso|int|dept|#)\.?\s?#?[\w-]{1,6}|,?\s?#\s?\d{1,5}\w?|,?\s\d{1,2}(?:st|nd|rd|th)\sfloor)?"
_STATES = (
    "AL|AK|AZ|AR|CA|CO|CT|DE|FL|GA|HI|ID|IL|IN|IA|KS|KY|LA|ME|MD|MA|MI|MN|MS|MO|MT|NE|NV|NH|NJ|NM|NY|NC|ND|OH|OK|OR|PA|RI|SC|SD|TN|TX|UT"
    "|VT|VA|WA|WV|WI|WY|DC|NSW|VIC|QLD|TAS|ACT|ON|QC|BC|AB|MB|SK|NS|NB"
)
_UK = r"[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}"
_CITY = r"[A-ZÀ-ÞŁŚŻ][\w'’.-]{1,24}"
_TAIL = rf"(?:,?\s{_CITY}(?:\s{_CITY}){{0,2}})?(?:,?\s(?:{_STATES})\b)?(?:,?\s(?:\d{{5}}(?:-\d{{4}})?|{_UK}|[A-Z]\d[A-Z]\s?\d[A-Z]\d|\d{{4}})(?!\w))?"
_PLZ = r"(?:,?\s(?:[A-Z]{1,2}-)?\d{4,5}(?:\s[A-ZÄÖÜ][\w.ß/-]{2,24}(?:\s(?:am|an\sder|im)\s[A-ZÄÖÜ]\w{2,20})?)?|,\s[A-ZÄÖÜ][\w.ß/-]{2,24})?"
_NAME = r"[\w'’.-]{2,20}"


def _cased(pattern: str) -> str:
    """A part of it in which small letters do as well."""
    return f"(?i:{pattern})"


_LOWER = (
    _LONG
    + " st rd ave av ln dr blvd ct way row walk hill circle trail loop gate green park rise view heights wharf pl sq cres"
)
_TALK = re.compile(
    r"\b(?:minutes?|mins?|hours?|min|hrs?|km|miles?|blocks?|times|people|percent|million|thousand|years?|days?|weeks?|months?|bucks|dollars?|euros?|weird|crazy|"
    r"long|best|only|great|nice|huge|same|your|my|our|their|this|that|it|we|you|they|i|to|down|up|be|get|got|go|going|are|were|more|less|least|half)\b",
    re.IGNORECASE,
)
"""Words of a sentence, not of an address."""
_NO_STREET = re.compile(
    r"(?:\w+\s)?(?:during|string|bring|spring|swing|thing|ring|halfweg|away|unterweg|during|string|anything|everything|something|nothing|hering|bring|tutorial|tie|weg|steig|platz|freeway|wiring|exploring|scoring|offering|entering|entering|gathering|engineering|[a-z]+ering|[a-z]+ing)\s",
    re.IGNORECASE,
)


def _is_flat(value: str) -> bool:
    """`4B`, `12, Lotus House`, `204`; a single digit is no more than a count."""
    return len(value) > 2 or not value.isdigit()


WHEREABOUTS: tuple[Rule, ...] = (
    # English: 42 Maple Street, Apt 3B, Springfield, IL 62704
    rule(
        "addresses",
        rf"(?<![\w$€£.,:/-])\d{{1,5}}[a-z]?(?:\s?[-/]\s?\d{{1,4}}[a-z]?)?,?\s(?:{_cased(_NOT_BETWEEN + _NAME)}\s){{1,4}}?{_cased(_TYPES)}\b(?:\s(?:[NSEW]|North|South|East|West|NE|NW|SE|SW)\b)?{_cased(_UNIT)}{_TAIL}",
        words=_LOWER,
        case=True,
        fits=lambda v: not _TALK.search(v),
    ),
    rule(
        "addresses",
        rf"(?<![\w$€£.,:/-])\d{{1,5}}[A-Za-z]?\s(?:(?:[NSEW]\.?\s)?{_cased(_NOT_BETWEEN)}[A-Z0-9][\w'’.-]{{1,20}}\s){{1,3}}?{_cased(_SHORT)}\b\.?{_cased(_UNIT)}{_TAIL}",
        words=_LOWER,
        case=True,
    ),
    rule(
        "addresses",
        rf"\b(?:live|living|lives|moved|address|house|place|home|over|come|pick|deliver|send|ship|drop|staying|at)\b[^\n\d]{{0,25}}?(?P<v>\d{{1,5}}[a-z]?\s(?:{_NOT_BETWEEN}{_NAME}\s){{1,3}}?(?:{_SHORT}|{_TYPES})\b\.?{_UNIT})",
        words=_LOWER,
        fits=lambda v: not _TALK.search(v),
    ),
    rule(
        "addresses",
        r"\b(?:live|living|lives|moved|address\sis|staying|house\sis|flat\sis|i['’]?m\sat|we['’]?re\sat|come\s(?:over\s)?to|send\sit\sto|deliver\sto|number)\b[^\n\d]{0,20}?(?P<v>\d{1,4}[a-z]?\s(?!(?:and|or|of|in|on|at|to|for|people|min|minutes|hours|years|euros?|pm|am|uhr|o)\b)[A-Z][\w'’-]{3,20}(?:\s[A-Z][\w'’-]{2,20}){0,2}(?:,\s[A-Z][\w'’-]{2,20})?(?:,?\s\d{5})?)(?=[\s.,;!?)]|\Z)",
        case=True,
        words="live living lives moved address staying house flat m re come send deliver number",
    ),
    rule(
        "addresses",
        r"\b(?:flat|apt|apartment|unit|suite|room|zimmer|wohnung|whg|appartement|appt|piso|house\s(?:no|number)|h\.?\s?no|plot|door\sno|hausnummer)\b\.?\s?(?:no\.?\s?|number\s|nr\.?\s?)?#?\s?(?P<v>\d{1,4}[ -]?[a-z]?(?:[,/]\s?\d{1,4}[a-z]?)?(?:,\s[\w' -]{3,30}(?:(?:road|nagar|street|colony|sector|marg|house|building|tower|apartments|residency|phase|block)[\w ]{0,12})?(?:,\s[\w ]{3,20}){0,2}(?:[ ,-]{1,3}\d{6})?)?)(?![\w%])",
        words="flat apt apartment unit suite zimmer wohnung whg appartement appt piso house plot door hausnummer",
        fits=_is_flat,
    ),
    rule(
        "addresses",
        r"\b(?:p\.?\s?o\.?\s?box|postfach|apartado|bo[iî]te\spostale|bp)\s?(?:nr\.?\s?)?\d[\d ]{1,8}\d"
        r"(?:,?\s\d{5}\s\w{3,20})?",
        words="p po box postfach apartado boite boîte bp",
    ),
    # German, Dutch, Scandinavian: one word with the kind of street at its end
    rule(
        "addresses",
        rf"(?<!\w)(?:[A-ZÄÖÜa-zäöü][\wäöüß.-]{{1,28}}[ -])?[A-ZÄÖÜa-zäöü]?[\wäöüßåøæé-]{{1,28}}(?:stra(?:ß|ss)e|str\.?|gasse|allee|platz|damm|ufer|chaussee|promenade|ring|weg|steig|stieg|straat|laan|gracht|plein|kade|singel|dijk|steeg|gatan|v[äa]gen|gata|veien|vej|gade|gränd|katu|tie)\s(?:nr\.?\s?)?\d{{1,4}}(?:\s?[a-h](?![\w]))?(?:\s?[-/]\s?\d{{1,4}}[a-z]?)?(?![\w:%€$]|[.,]\d|\s(?:uhr|euro|min(?:uten?)?|km|kilometer|m|meter|leute|personen|mal|jahre?|stunden?|tage?)\b){_cased(_PLZ)}",
        fits=lambda v: not _NO_STREET.match(v),
    ),
    rule(
        "addresses",
        rf"(?<!\w)(?:[A-ZÄÖÜ][\wäöüß-]{{2,24}}\s)?(?:Stra(?:ß|ss)e|Str\.?|Weg|Allee|Platz|Gasse|Ring|Damm|Ufer|Chaussee)(?:\s(?:der|des|am|im|an\sder)\s[\wÄÖÜäöüß]{{2,20}}(?:\s[A-ZÄÖÜ]\w{{2,20}})?)?\s(?:Nr\.?\s?)?\d{{1,4}}\s?[a-h]?(?![\w:%€$]|[.,]\d|\s(?:Uhr|Euro|Min(?:uten?)?|km|Kilometer|Meter|Leute|Personen|Mal|Stunden?|Tage?|Jahre?|Links)\b){_PLZ}",
        case=True,
    ),
    rule(
        "addresses",
        r"(?<!\w)(?:Am|An\sder|An\sden|Im|In\sder|In\sden|Auf\sdem|Auf\sder|Unter\sden|Zum|Zur|Hinter\sder|Vor\sdem|Beim|Alte[rs]?|Neue[rs]?)\s(?!Mo|Die|Do|Fre|Sa|So|Mit|Jan|Feb|M[äa]r|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez|Schnitt|Durchschnitt|Jahr|Alter|Kapitel|Platz|Moment|Ende|Anfang)[A-ZÄÖÜ][\wäöüß-]{2,24}\s\d{1,3}\s?[a-h]?(?=\s?(?:[,;!?)]|\.(?!\d)|\Z|\n|in\s[A-Z]))(?:,?\s(?:\d{5}\s)?(?:in\s)?[A-ZÄÖÜ]\w{2,24})?",
        case=True,
    ),
    rule(
        "addresses",
        r"\b(?:PLZ|Postleitzahl|postcode|zip(?:\s?code)?|postal\scode|code\spostal|c[óo]digo\spostal|CAP|CEP|pincode|pin\scode)\b\s?(?:is|ist|:|=|lautet|est|es)?\s?(?P<v>(?-i:(?=[\w -]{0,9}\d)[A-Z0-9]{2,5}(?:[ -]?[A-Z0-9]{3,4})?)|[a-z]{1,2}\d\w?\s?\d[a-z]{2})\b",
        words="plz postleitzahl postcode zip zipcode postal cap cep pincode pin",
    ),
    # Romance languages
    rule(
        "addresses",
        r"(?<!\w)(?:\d{1,4}\s?(?:bis|ter|[a-f])?,?\s)?(?:rue|av(?:enue|\.)|boulevard|bd|place|chemin|all[ée]e|impasse|quai|cours|route|passage|faubourg|villa|square)(?:\s(?:d[eu]s?|la|les?|l['’]|d['’]|aux?)(?=[\s\w]))*\s?[A-ZÀ-Þa-z][\w'’.-]{1,24}(?:[ -][\w'’.-]{2,20}){0,3}?(?:,?\s\d{1,4}\b)?,?\s(?:à\s)?\d{5}(?:\s[A-ZÀ-Þ][\w-]{2,24})?(?!\w)",
        words="rue av avenue boulevard bd place chemin allée allee impasse quai cours route passage faubourg villa square",
        fits=lambda v: not _TALK.search(v),
    ),
    rule(
        "addresses",
        r"(?<!\w)(?:\d{1,4}\s?(?:bis|ter|[a-f])?,?\s)(?:rue|av(?:enue|\.)|boulevard|bd|place|chemin|all[ée]e|impasse|quai|cours|route|passage|faubourg|villa|square)(?:\s(?:d[eu]s?|la|les?|l['’]|d['’]|aux?)(?=[\s\w]))*\s?[A-ZÀ-Þa-z][\w'’.-]{1,24}(?:[ -](?-i:[A-ZÀ-Þ])[\w'’.-]{2,20}){0,3}(?:,?\s(?:à|a)\s(?-i:[A-ZÀ-Þ])[\w-]{2,24}|,\s(?-i:[A-ZÀ-Þ])[\w-]{2,24})?(?=[\s.,;!?)]|\Z)",
        words="rue av avenue boulevard bd place chemin allée allee impasse quai cours route passage faubourg villa square",
        fits=lambda v: not _TALK.search(v),
    ),
    rule(
        "addresses",
        r"(?<!\w)(?:calle|c/|avenida|avda?\.?|plaza|pza\.?|paseo|carrera|cra\.?|camino|ronda|traves[ií]a|calz(?:ada)?\.?|callej[óo]n|rua|r\.|travessa|pra[çc]a|alameda|estrada|viale|v\.le|piazza|p\.za|corso|vicolo|(?:via|largo|strada|str\.|corso)(?=\s(?:d[aei]\w{0,3}['’\s])?\s?(?-i:[A-ZÀ-Þ]))|bulevardul|carrer|rambla)\s(?:d[aeio]s?\s|de\sla\s|de\slos\s|del(?:la|le|lo|l['’])?\s?|dos\s|das\s|d['’])?[A-ZÀ-Þa-z0-9][\w'’ªº.-]{1,24}(?:\s[\w'’.-]{1,20}){0,4}?,?\s(?:n[ºo°]?\.?\s?|#\s?|n[uú]mero\s|num\.?\s|nr\.?\s)?\d{1,5}(?:\s?[-/]\s?\d{1,4})?\s?[a-zA-Zºª]?\b(?:,\s?\d{1,2}[ºª°]?\s?[a-zA-Z]?(?![\w]))?(?:,?\s\d{4,5}(?:-\d{3})?)?(?:,?\s(?-i:[A-ZÀ-Þ][\w-]{2,24}))?(?=\s?(?:[,.;!?)(]|\Z|\n))",
        words="calle c avenida av avda plaza pza paseo carrera cra camino ronda travesía travesia calz calzada callejón rua r travessa praça praca alameda estrada via viale piazza corso largo vicolo strada str bulevardul carrer rambla",
        fits=lambda v: not _TALK.search(v),
    ),
    # Slavic, Hungarian, Turkish
    rule(
        "addresses",
        r"(?<!\w)(?:ul\.|ulica|ulice|al\.|aleja|alei|os\.|pl\.|plac|ул\.|улица|улице|просп(?:\.|ект)|пр-т|пер\.|переулок|вул\.|вулиця|наб\.|шоссе)\s?[^\W\d_][\w.'-]{1,24}(?:\s[\w.'-]{2,20}){0,3}?,?\s(?:д\.?\s?|дом\s)?\d{1,4}[a-zа-я]?(?:\s?/\s?\d{1,4})?(?:,?\s?(?:m\.|кв\.?|м\.)\s?\d{1,4})?(?:,?\s\d{2}-\d{3}\s\w{3,20})?",
    ),
    rule(
        "addresses",
        r"(?<!\w)[^\W\d_]{3,24}(?:\s[^\W\d_]{3,20})?\s(?:utca|út|u\.|tér|körút|sokak|sokağı|sok\.|caddesi|cad\.|cadde|mahallesi|mah\.|bulvarı|jalan|jl\.)\s?(?:no\.?\s?:?\s?)?\d{1,4}(?:\s?/\s?\w{1,4})?",
        words="utca út u tér körút sokak sokağı sok caddesi cad cadde mahallesi mah bulvarı jalan jl",
    ),
    rule(
        "addresses",
        r"(?<!\w)(?:jalan|jl\.?)\s[^\W\d_]{3,24}(?:\s[\w.]{2,20}){0,3}?\s(?:no\.?\s?)?\d{1,4}",
        words="jalan jl",
    ),
    # East Asia
    rule(
        "addresses",
        r"〒?\s?\d{3}-\d{4}(?=\s?[\u4e00-\u9fff])|(?:東京都|北海道|(?:大阪|京都)府|[\u4e00-\u9fff]{2,3}県)?[\u4e00-\u9fff]{1,8}[市区郡町村][\u4e00-\u9fff\u3040-\u30ff]{1,10}?(?:\d{1,3}(?:丁目|[-−－‐]|番地?)){1,2}\d{0,4}号?",
        case=True,
    ),
    rule(
        "addresses",
        r"[\u4e00-\u9fff]{2,20}(?:路|街|道|巷|弄)\s?\d{1,5}\s?[号號](?:\s?[\u4e00-\u9fff\d]{1,10}[室楼樓座栋])?",
        case=True,
    ),
    rule("addresses", r"[\uac00-\ud7af]{2,10}(?:로|길|동)\s?\d{1,4}(?:-\d{1,4})?(?:번길\s?\d{1,4})?", case=True),
    rule(
        "addresses",
        r"(?<!\w)(?:\d{1,3}-){2}\d{1,4},?\s[A-Z][a-z]+(?:-(?:ku|cho|machi|shi))?(?:,\s[A-Z][\w-]+){0,3}",
        case=True,
    ),
    # postcodes that tell by themselves
    rule("addresses", rf"(?<![\w-])(?:GIR\s?0AA|{_UK})(?![\w-])", case=True),
    rule(
        "addresses",
        r"\b(?:live|living|postcode|moved|address|near|area|flat|house)\b[^\n]{0,30}\b(?P<v>[a-z]{1,2}\d[a-z\d]?\s?\d[a-z]{2})(?![\w-])",
        words="live living postcode moved address near area flat house",
    ),
    rule("addresses", r"(?<![\w-])[ABCEGHJ-NPRSTVXY]\d[A-Z]\s?\d[A-Z]\d(?![\w-])", case=True),
    rule(
        "addresses",
        rf"(?:{_CITY}(?:\s{_CITY}){{0,2}},\s)?(?<![\w-])(?:{_STATES})\s\d{{5}}(?:-\d{{4}})?(?![\w-])",
        case=True,
    ),
    rule(
        "addresses",
        r"(?<![\w-])\d{4}\s?[A-Z]{2},?\s(?:[A-Z][\w-]{3,20})",
        case=True,
        fits=lambda v: v[5:7] not in ("PM", "AM", "BC", "AD"),
    ),
    rule(
        "addresses",
        r"\b(?:room|zimmer|chambre|habitaci[óo]n|suite)\s(?P<v>\d{2,4}\w?\s(?:at|in|im|des|del|of)\s(?:the\s|der\s)?(?-i:[A-Z])[\w'’-]{2,20}(?:\s(?-i:[A-Z])[\w'’-]{2,20}){0,2})",
        words="room zimmer chambre habitación habitacion suite",
    ),
    # coordinates
    rule(
        "coordinates",
        r"(?<!\w)[NS]\s?\d{1,2}[ °]\s?\d{1,2}[.,]\d{1,4}['′]?\s?[,;/]?\s?[EWO]\s?\d{1,3}[ °]\s?\d{1,2}[.,]\d{1,4}['′]?",
        case=True,
    ),
    rule(
        "coordinates",
        r"(?<!\w)\d{1,2}[.,]\d{2,8}\s?°?\s?[NS]\b\s?[,;/]?\s?\d{1,3}[.,]\d{2,8}\s?°?\s?[EWO]\b",
        case=True,
    ),
    rule(
        "coordinates",
        r"(?<![\w.])[-+]?\d{1,2}[.,]\d{3,10}\s?°?\s?[NSns]?\s?[,;/ ]\s?[-+]?\d{1,3}[.,]\d{3,10}\s?°?\s?[EWew]?(?![\w])",
    ),
    rule(
        "coordinates",
        r"(?<!\w)\d{1,3}\s?°\s?\d{1,2}(?:[.,]\d+)?\s?['′’]\s?(?:\d{1,2}(?:[.,]\d+)?\s?(?:[\"″”]|''))?\s?[NSEWO]\b(?:[\s,]{1,3}\d{1,3}\s?°\s?\d{1,2}(?:[.,]\d+)?\s?['′’]\s?(?:\d{1,2}(?:[.,]\d+)?\s?(?:[\"″”]|''))?\s?[NSEWO]\b)?",
    ),
    rule(
        "coordinates",
        r"\blat(?:itude)?\b\s?(?:is|:|=)?\s?-?\d{1,2}\.\d{2,}.{0,12}?\blon(?:g|gitude)?\b\s?(?:is|:|=)?\s?-?\d{1,3}\.\d{2,}",
        words="lat latitude",
    ),
    rule("coordinates", r"///[a-z]{3,15}\.[a-z]{3,15}\.[a-z]{3,15}", sign="///", digits=False),
    rule("coordinates", r"(?<!\w)[23456789CFGHJMPQRVWX]{4,8}\+[23456789CFGHJMPQRVWX]{2,3}(?!\w)", case=True),
)
_HEAD = re.compile(
    r"(?:\b(?:flat|apt|apartment|unit|suite|ste|room|no|nr|number|num|wohnung|whg|appt|appartement|haus|house|block|building|floor)\.?\s?#?\w{0,5},?\s"
    r"|\b\w{1,12}(?:st|nd|rd|th)\sfloor,?\s|\b\d{1,2}\.\s(?:stock|og|etage),?\s|\b(?:eg|dg|hinterhaus|vorderhaus),?\s){1,3}\Z",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"(?:[-/]?[IVX]{1,4}\b|-\d{1,4}\w?)?(?:,?\s(?:(?i:lgh|apt|apartment|flat|unit|suite|floor|etage|stock|stg|top|kv|m|apto|piso|planta|[ée]tage|int|scala|huis|bus|nr|no)\.?\s?#?\d{1,4}\w?"
    r"|\d{1,2}\.?\s?(?i:stock|og|etage|floor|[ée]tage|piso|planta|izq|dcha)\b\.?|\d{1,2}(?i:st|nd|rd|th|e|er|[ºª°])(?:\s(?i:floor|[ée]tage|piso|izq|dcha))?\.?))*"
    r"(?:,?\s(?:[A-Z]{1,2}-)?(?:\d{5}(?:-\d{3,4})?|\d{3}\s\d{2}|\d{4}(?:\s[A-Z]{2})?|\d{2}-\d{3}|\d{6}|\d{3}\s\d{3})(?=[\s,.;!?)]|\Z))?"
    r"(?:,\s(?!I\b|[A-Z][a-z]+\s(?:is|was|has|will|said))[A-ZÀ-ÞŁŚŻ][\w'’-]{2,20}(?:[ -][A-ZÀ-ÞŁŚŻ][\w'’-]{2,20}){0,2}|(?<=\d)\s(?:in\s)?[A-ZÀ-ÞŁŚŻ][a-zà-ÿ'’-]{2,20})?"
    r"(?:,?\s(?:[A-Z]{1,2}\d[A-Z\d]?\s?\d[A-Z]{2}|[A-Z]{2}\s\d{5}|\d{4,6}))?(?!\w)"
)
"""What may stand before an address, and behind one: flats and floors, postcodes, the town."""


def whole(text: str, span: Span) -> Span:
    """An address with its flat and its town."""
    before = _HEAD.search(text[max(0, span.start - 40) : span.start])
    start = span.start - len(before[0]) if before is not None else span.start
    behind = _MORE.match(text, span.end)
    return span._replace(start=start, end=behind.end() if behind is not None else span.end)
