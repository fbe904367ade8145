"""What a few words of a message say so plainly that nobody has to guess: a bare greeting, a wish for thought or tools.

Whole words and whole messages only: `hi` is not in `which`, and a thank-you letter thanks nobody. What is not found
here is the learned model's. Pure; every expression takes time linear in the little text that it is given.
"""

import re
from collections.abc import Sequence
from unicodedata import normalize

from rolecast import lazily

MOST_GREETING = 100
"""Characters of a message that may be nothing but a greeting."""
EDGE = 400
"""So many characters at each end of a message are searched for a wish: an instruction stands before or after a text."""

_GREETINGS = """
hi|hii|hiii|hello|helo|hey|heya|heyy|hiya|howdy|yo|sup|greetings|good morning|good afternoon|good evening|good day
|good night|goodnight|morning|evening|gm|hi there|hey there|hello there|how are you|how are you doing
|how are you today|how are you doing today|how r u|how do you do|hows it going|how's it going|how is it going
|whats up|what's up|wassup|nice to meet you|pleased to meet you|long time no see|welcome back
|bye|bye bye|goodbye|good bye|see you|see ya|see you later|see you tomorrow|see you soon|take care|cya|ttyl
|have a nice day|have a good day|have a great day|have a good one|talk to you later
|thanks|thank you|thank you so much|thank you very much|thanks a lot|thanks so much|thanks a bunch|thanks a million
|many thanks|thx|thnx|ty|tysm|cheers|much appreciated|appreciate it|i appreciate it|thanks for your help
|thank you for your help|thanks for the help|thank you for the help|thanks for helping|thanks again|thank you again
|hallo|hallo zusammen|hi zusammen|guten morgen|guten tag|guten abend|gute nacht|moin|moin moin|servus|grüß gott
|grüezi|grüß dich|wie geht's|wie gehts|wie geht es dir|wie geht es ihnen|tschüss|tschüß|tschau|auf wiedersehen
|bis später|bis bald|bis morgen|danke|danke schön|dankeschön|danke sehr|vielen dank|herzlichen dank|besten dank
|tausend dank|danke dir|danke für deine hilfe|danke für die hilfe|vielen dank für ihre hilfe
|bonjour|salut|coucou|bonsoir|bonne nuit|bonne journée|bonne soirée|ça va|comment ça va|comment vas-tu
|comment allez-vous|au revoir|à bientôt|à demain|à plus|à plus tard|merci|merci beaucoup|merci bien|un grand merci
|mille mercis|merci infiniment|merci pour votre aide|merci pour ton aide
|hola|buenos días|buenos dias|buenas|buenas tardes|buenas noches|buen día|qué tal|que tal|cómo estás|como estas
|cómo está|adiós|adios|hasta luego|hasta mañana|hasta pronto|nos vemos|gracias|muchas gracias|mil gracias
|muchísimas gracias|gracias por tu ayuda|gracias por la ayuda
|ciao|salve|buongiorno|buon giorno|buonasera|buona sera|buonanotte|buona notte|come stai|come sta|come va
|arrivederci|a presto|a domani|a dopo|grazie|grazie mille|molte grazie|tante grazie|ti ringrazio
|olá|ola|oi|bom dia|boa tarde|boa noite|tudo bem|como vai|como está|tchau|até logo|até amanhã|até mais|adeus
|obrigado|obrigada|muito obrigado|muito obrigada|valeu
|hoi|goedemorgen|goedemiddag|goedenavond|goedendag|goedenacht|hoe gaat het|hoe gaat het met je|doei|dag|tot ziens
|tot later|tot morgen|bedankt|dank je|dank je wel|dank u|dank u wel|dankjewel|heel erg bedankt|hartelijk dank
|cześć|czesc|siema|hej|dzień dobry|dzien dobry|dobry wieczór|dobranoc|jak się masz|co słychać|do widzenia
|na razie|dzięki|dzieki|dziękuję|dziekuje|dziękuję bardzo|wielkie dzięki
|hej hej|god morgon|god kväll|tack|tack så mycket|hejdå|hei|kiitos|mange tak
|привет|здравствуй|здравствуйте|доброе утро|добрый день|добрый вечер|спокойной ночи|как дела|пока|до свидания
|до завтра|спасибо|большое спасибо|спасибо большое|благодарю
|merhaba|selam|günaydın|iyi akşamlar|iyi günler|iyi geceler|nasılsın|nasılsınız|naber|hoşça kal|güle güle
|görüşürüz|teşekkürler|teşekkür ederim|çok teşekkürler|çok teşekkür ederim|sağ ol|sağol
|مرحبا|مرحبًا|أهلا|أهلاً|السلام عليكم|صباح الخير|مساء الخير|كيف حالك|مع السلامة|شكرا|شكرًا|شكراً|شكرا جزيلا
|नमस्ते|नमस्कार|हैलो|हाय|सुप्रभात|शुभ रात्रि|आप कैसे हैं|कैसे हो|धन्यवाद|शुक्रिया|बहुत धन्यवाद|अलविदा
|你好|您好|你好吗|嗨|早上好|早安|下午好|晚上好|晚安|再见|拜拜|谢谢|谢谢你|谢谢您|多谢|非常感谢|谢谢你的帮助
|こんにちは|こんばんは|おはよう|おはようございます|おやすみ|おやすみなさい|やあ|もしもし|お元気ですか|元気ですか
|さようなら|じゃあね|またね|ありがとう|ありがとうございます|ありがとうございました|どうもありがとう|どうも
|안녕|안녕하세요|안녕하십니까|좋은 아침|좋은 아침이에요|잘 지내세요|잘 자|안녕히 계세요|잘 가
|고마워|고마워요|고맙습니다|감사합니다|감사해요
"""
_FILLERS = "there|again|all|everyone|everybody|friend|my friend|buddy|mate|dear|and|und|et|y|e|en|i|и|ok|okay|oh|so"
_FILLERS += "|great|perfect|cool|nice|awesome|please|then|now|today|for now|to you|you|too"
_CORE = frozenset(" ".join(each.casefold().split()) for each in _GREETINGS.replace("\n", "").split("|"))
_FILL = frozenset(_FILLERS.split("|"))
_MOST_WORDS = max(each.count(" ") + 1 for each in _CORE)
_WORD = lazily.pattern(r"[^\W\d_]+(?:['\-][^\W\d_]+)*")
# What may stand around the words of a greeting: anything else, a digit or a sign of code, makes it something else.
_AROUND = lazily.pattern(
    r"[\s.,!?¡¿…~;:)(\-\u2013\u2014'\"、。！？，～·♥❤\ufe0f\u200d\u2600-\u27bf\U0001f300-\U0001faff]*\Z"
)


def greets(text: str) -> bool:
    """Whether the message is nothing but greetings, farewells or thanks."""
    if not 0 < len(text) <= MOST_GREETING:
        return False
    folded = normalize("NFC", text).casefold().replace("’", "'")
    if _MARKED.search(folded):
        stripped = (word.strip(_STRIPPED) for word in folded.split())
        return _is_all([word for word in stripped if word])
    return _AROUND.match(_WORD.sub(" ", folded)) is not None and _is_all(_WORD.findall(folded))


_MARKED = lazily.pattern(r"[\u0600-\u06ff\u0900-\u097f]")
"""Scripts whose marks are no letters: words are cut at blanks alone."""
_STRIPPED = " .,!?¡¿…~;:)(-–—'\"、。！？，～·♥❤،؟।"


def _is_all(words: Sequence[str]) -> bool:
    """Whether the words are greetings one after the other, with one at least that is more than a filler."""
    reached: dict[int, bool] = {0: False}
    for at in range(len(words)):
        if at not in reached:
            continue
        for length in range(1, min(_MOST_WORDS, len(words) - at) + 1):
            phrase = " ".join(words[at : at + length])
            if phrase in _CORE or phrase in _FILL:
                greeted = reached[at] or phrase in _CORE
                reached[at + length] = reached.get(at + length, False) or greeted
    return reached.get(len(words), False)


_BREAK = lazily.pattern(r"\A|[.!?:;,\n]")
"""Where a sentence may begin, or go on with another wish."""
_LINK = lazily.pattern(r"\s*(?:and|but|so|then)\s+", re.IGNORECASE)
_THOUGHT = lazily.pattern(
    r"\s*(?:(?:please|now|first|ok|okay|but|and|so|also|then)[\s,]+){0,3}"
    r"(?:(?:take (?:your|the) time (?:and|to) )?(?:really )?think (?:(?:about )?(?:it|this|that) )?"
    r"(?:very )?(?:step by step|step-by-step|through|deeply|carefully|hard|thoroughly|critically|rigorously)"
    r"|(?:think|reason) (?:very )?(?:deeply|carefully|hard|step by step|step-by-step|rigorously)"
    r" (?:about|through|before)"
    r"|reason (?:(?:through|about) (?:it|this|that) )?(?:step by step|step-by-step|carefully|deeply|rigorously)"
    r"|(?:use|show|give)(?: me| us)?(?: your)? (?:chain[- ]of[- ]thought|step[- ]by[- ]step reasoning)"
    r"|(?:prove|derive) (?:it |this |that )?rigorously|rigorously (?:prove|derive)"
    r"|(?:give|write) (?:me )?a rigorous proof"
    r"|(?:denk|denke|denken sie) (?:gründlich|genau|scharf|schritt für schritt)(?: darüber)? nach"
    r"|beweise? (?:streng|rigoros|lückenlos)"
    r"|réfléchi(?:s|ssez) (?:bien|étape par étape|soigneusement)|démontre(?:z)? rigoureusement"
    r"|piens[ae] (?:paso a paso|bien|con cuidado|detenidamente)|demuestr[ae] rigurosamente"
    r"|(?:pensa|ragiona) (?:passo (?:per|dopo|a) passo|bene|attentamente)|pense (?:passo a passo|bem|com cuidado)"
    r"|denk (?:stap voor stap|goed) na|myśl krok po kroku"
    r"|(?:подумай|рассуждай|думай)(?:те)? (?:шаг за шагом|пошагово|внимательно|хорошо))"
    r"(?![\w'])",
    re.IGNORECASE,
)
_THOUGHT_CJK = lazily.pattern(
    r"(?:一步一步|一步步|逐步|仔细|深入)(?:地)?(?:思考|推理|想)"
    r"|ステップバイステップで考え|段階的に考え"
)
_STEMS = (
    *("think", "reason", "prove", "derive", "proof", "denk", "beweis", "réfléchi", "démontre", "piens", "demuestr"),
    *("pensa", "ragiona", "pense", "myśl", "думай", "рассуждай", "思考", "推理", "想", "考え", "chain", "step"),
)
"""One of these is in whatever the expression finds."""
_ASCII_STEMS = tuple(stem for stem in _STEMS if stem.isascii())
_TOOLS = lazily.pattern(
    r"\s*(?:(?:please|can you|could you|would you|hey|ok|now)[\s,]+){0,3}"
    r"(?:use (?:the |your |my |a |any )?(?:[a-z_]+ ){0,2}tools?\b"
    r"|(?:take a look|have a look|look) (?:at|in|into|through) (?:the |my |this |these |those |that |our )?(?:[a-z]+ )?"
    r"(?:files?|folders?|director(?:y|ies))\b"
    r"|(?:list|show me|open|read) (?:all )?(?:the |my |this |these |those |that |our )?(?:[a-z]+ )?"
    r"(?:files?|folders?|director(?:y|ies))\b)",
    re.IGNORECASE,
)
_CODE = lazily.pattern(
    r"\b(?:functions?|class(?:es)?|method|debug|implement|refactor|codes?|codebase|programs?|programming|script|bugs?|"
    r"compiles?|tests?|repo(?:sitory)?|source|stack ?trace|exception|module|api|sql|regex)\b"
    r"|\.(?:py|js|ts|tsx|java|c|cc|cpp|h|rs|go|rb|php|sh|sql|cs|kt|swift|lua|r|ipynb)\b",
    re.IGNORECASE,
)
_QUOTED = lazily.pattern(r"\"[^\"\n]{0,300}\"|“[^”\n]{0,300}”|«[^»\n]{0,300}»|„[^“”\n]{0,300}[“”]|`[^`\n]{0,300}`")


def wants_thought(text: str) -> bool:
    """Whether it asks in so many words to think hard, or to prove strictly; quoted words ask for nothing."""
    ends = _ends(text)
    folded = ends.casefold()
    for stem in _ASCII_STEMS if folded.isascii() else _STEMS:
        if stem in folded:
            break
    else:
        return False
    said = _QUOTED.sub(" ", ends)
    if any(_wishes(said, found) for found in _BREAK.finditer(said)):
        return True
    return not said.isascii() and _THOUGHT_CJK.search(said) is not None


def _wishes(text: str, start: re.Match[str]) -> bool:
    """Whether a wish for thought begins there; behind a comma only what is joined by a word."""
    at = start.end()
    if start[0] == ",":
        link = _LINK.match(text, at)
        at = link.end() if link is not None else len(text)
    return _THOUGHT.match(text, at) is not None


def wants_tools(text: str) -> bool:
    """Whether it begins by asking to use tools or to look at files, and says nothing of code."""
    return len(text) <= EDGE and _TOOLS.match(text) is not None and _CODE.search(text) is None


def _ends(text: str) -> str:
    return text if len(text) <= 2 * EDGE else f"{text[:EDGE]}\n{text[-EDGE:]}"
