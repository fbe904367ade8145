# ruff: noqa: RUF001  # letters of other languages are meant
"""Which language a text is in, by its two letters: first by its script, then by words that only one has much of.

Pure and without a model. A text that says too little, or that is in no language of these, is ''.
"""

from collections.abc import Mapping

from rolecast import lazily

HEAD, TAIL = 400, 200
"""Characters that are looked at: a long text begins and ends in the language of the one who asks."""
LEAST = 0.75
"""Words must say at least so much; one that a single language has says 1."""
START, CLEAR = 120, 3.0
"""So many characters decide alone, if they say so many times as much for one language as for the next."""
LEAD = 1.3
"""And so many times as much as for the next language."""
FIRST_WORDS, FIRST = 4, 2.5
"""The first words count so many times: who wants a text translated says so in front of it."""
OPENING, QUOTED = 8.0, 0.6
"""Letters of another script decide when there are not so many times as many Latin ones: where the text begins with
them, and where it does not and they may be quoted."""
LETTER = 0.9
"""What a letter that few languages write says, shared by those."""

WORDS: Mapping[str, str] = {
    "en": (
        "the of and to is are was were be been being what who whose how why when where which that this these those "
        "it its with for from by about into than then there their they them he she his her him you your we our us "
        "my i am i'm do does did don't doesn't didn't has have had can can't could would should will shall may "
        "might must not if or but because so some any all each more most many much please write explain give make "
        "show tell find need want help hello thanks thank good summarize translate list create using use between "
        "best way like get know think an as at on up out only just also over after before other people new work me "
        "very here hi hey okay let let's what's it's that's i've i'd isn't one two first time day year describe "
        "compare convert draft fix add change check short long every same without difference calculate solve prove "
        "rewrite story poem yes thing lol u ur pls plz gonna wanna a photo image picture red little old against "
        "off no in"
    ),
    "de": (
        "der die das den dem des ein eine einen einem einer eines und oder aber ist sind war waren sein wird "
        "werden wurde ich du er sie es wir ihr mich dich mir dir uns euch mein meine meinen meinem meiner dein "
        "deine deinen unser unsere ihre ihren nicht kein keine keinen wie wer wo wann warum wieso welche welcher "
        "welches von mit für auf aus bei nach zu zum zur über unter zwischen durch gegen ohne vor seit bis im am "
        "ins vom beim als wenn dass weil ob auch noch nur schon sehr mehr bitte schreib schreibe erkläre erklär "
        "übersetze gib mach mache zeig zeige kann kannst können könnte soll sollte muss müssen will möchte brauche "
        "habe hast hat haben hatte gibt danke hallo guten morgen heute hilf hilfe mal etwas alle alles diese "
        "dieser dieses diesen hier dann jetzt fasse zusammen geht macht bin bist gerade ersten zwei drei neue gut "
        "besser wäre würde einfach ja nein doch denn deutsch englisch satz text brief unterschied nenne berechne "
        "komplettiere vervollständige fertig lies prüf prüfe sortiere ordne entwirf formuliere kürze ruf spiel "
        "stell such finde zeichne male erzähl erzähle löse beantworte liste vergleiche fasst meinst steht stimmt "
        "moin servus geht's wie's halt hab ne nen nix guck würdest sagt heißt bedeutet gehört leute frau mann kind "
        "haus mutter vater woche monat jahr stunde uhr geschichte gedicht bild code"
    ),
    "fr": (
        "le la les un une des du de et ou est sont était être avoir ai as avons avez ont je tu il elle nous vous "
        "ils elles mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs ce cet cette ces que qui quoi "
        "dont où quand comment pourquoi quel quelle quels quelles dans sur sous avec sans pour par entre chez vers "
        "plus moins très pas ne n'est c'est j'ai d'un d'une qu'est qu'il l'on aux au en y se si mais donc car "
        "aussi bien écris écrire explique explique-moi traduis donne donne-moi fais faire peux peut peux-tu pouvez "
        "pourrais dois faut veux voudrais merci bonjour salut s'il plaît stp svp résume aide moi toi lui eux tout "
        "tous toute toutes autre même fait chaque deux trois jour jours phrase texte français anglais différence "
        "calcule après avant depuis pendant alors ça cela mot d'accord quelqu'un j'aimerais est-ce est-il qu'on "
        "d'abord jusqu'à termine continue complète vérifie corrige trie dessine génère imagine raconte liste "
        "compare résous combien font lis lire mets envoie appelle cherche trouve prépare rédige rédigez traduisez "
        "expliquez donnez écrivez veuillez coucou truc mec trop quelqu petit petite grand ville pays maison vie "
        "monde eau chien chat enfant homme femme histoire poème image semaine mois heure l'équation signifie arabe"
    ),
    "es": (
        "el la los las un una unos unas de del al y o es son era fue ser estar está están estoy soy eres somos hay "
        "he has ha hemos han tengo tiene tienes yo tú él ella nosotros ellos mi mis tu tus su sus nuestro que qué "
        "quién cómo cuándo dónde por para con sin sobre entre desde hasta cuál cuáles cuánto cuántos cuánta porque "
        "pero si no más menos muy también como cuando donde este esta esto estos estas ese esa eso esos aquel me "
        "te se nos le les lo escribe escríbeme explica explícame traduce dame haz hazme puedes puede podrías "
        "necesito quiero quisiera gracias hola buenos días favor resume ayuda ayúdame ahora todo todos toda todas "
        "cada dos tres hacer mejor año día uno frase texto español inglés diferencia calcula siguiente debo sería "
        "algo alguien bien entonces hoy ayer mañana completa termina revisa corrige ordena dibuja genera imagina "
        "cuenta cuéntame resuelve compara lista halla busca pon envía llama lee redacta traduzca escriba explique "
        "indique sigue buenas tardes noches pues vale nada ventajas casa agua perro gato niño hombre mujer "
        "historia poema imagen semana mes hora mundo vida ciudad país según dice significa hazlo así"
    ),
    "it": (
        "il lo la i gli le un uno una di del dello della dei degli delle al allo alla ai agli alle dal dalla nel "
        "nella nei sul sulla e o è sono era sei siamo essere avere ho hai ha abbiamo hanno io tu lui lei noi voi "
        "loro mio mia miei tuo tua suo sua nostro che chi cosa come quando dove perché quale quali quanto quanti "
        "per con senza su tra fra da in non più meno molto anche ma se questo questa questi queste quello quella "
        "mi ti si ci vi scrivi scrivimi spiega spiegami traduci dammi fai fammi puoi può potresti devo vorrei "
        "voglio grazie ciao buongiorno favore riassumi aiuto aiutami adesso ora tutto tutti tutte ogni due tre "
        "fare meglio anno giorno frase testo italiano inglese differenza calcola c'è cos'è dell' l'ho un' qual "
        "quindi oggi ieri domani così già po' dopo prima ancora d'accordo dell'anno all'inizio completa continua "
        "controlla correggi ordina disegna genera immagina racconta inventa risolvi confronta elenca trova cerca "
        "metti invia chiama leggi accendi spegni scriva spieghi traduca annoio casa acqua cane gatto bambino uomo "
        "donna storia poesia immagine settimana mese mondo vita città paese secondo significa vale fosse stato"
    ),
    "pt": (
        "o a os as um uma uns umas de do da dos das no na nos nas ao aos à às e ou é são era foi ser estar está "
        "estão estou sou somos há tenho tem têm você vocês eu tu ele ela nós eles elas meu minha meus minhas teu "
        "seu sua seus suas nosso que quem como quando onde por para com sem sobre entre desde até qual quais "
        "quanto quantos porque mas se não mais menos muito também este esta isto isso esse essa esses aquele me te "
        "lhe escreva escreve explique explica traduza traduz dê faça faz pode podes poderia preciso quero queria "
        "gostaria obrigado obrigada olá oi bom dia favor resuma ajuda ajude agora tudo todos todas cada dois duas "
        "três fazer melhor ano frase texto português inglês diferença calcule pelo pela pelos num numa então hoje "
        "ontem amanhã já só depois antes ainda bem pra vc completa complete continua continue termina revise "
        "corrija ordene desenhe desenha gere imagine conte resolva compare liste encontre busque coloque "
        "transforme analise envie ligue leia redija casa água cachorro gato criança homem mulher história poema "
        "imagem semana mês hora mundo vida cidade país segundo significa aquilo lá boa boas tarde noite cara legal "
        "tá né sen derivada"
    ),
    "nl": (
        "de het een en of is zijn was waren ben bent wordt worden werd ik jij je hij zij ze wij we jullie mij me "
        "jou mijn jouw uw hun ons onze deze dit die dat wat wie hoe waarom wanneer waar welke van met voor op uit "
        "bij naar te ten ter over onder tussen door tegen zonder sinds tot in aan als dan omdat niet geen ook nog "
        "maar wel meer zeer heel alstublieft graag schrijf leg vertaal geef maak laat kan kun kunt kunnen zou moet "
        "moeten wil heb hebt heeft hebben had er dank bedankt hallo hoi goedemorgen help hulp vandaag samenvatting "
        "vat samen alle alles hier nu zo eens even uitleg twee drie nieuwe goed beter zin tekst nederlands engels "
        "verschil bereken mag zich iets iemand haar hem gaat doe doen zoals jaar dag ja nee af kijk controleer "
        "corrigeer sorteer teken genereer verzin vertel los vergelijk noem zoek vind zet stuur bel lees doei "
        "gezellig huis water hond kat kind man vrouw verhaal gedicht afbeelding week maand uur wereld leven stad "
        "land volgens betekent hoeveel mooi leuk kilometer"
    ),
    "pl": (
        "w na od po za ku przez dla bez pod nad przed między oraz lub ale że bo więc czy jak co kto gdzie kiedy "
        "dlaczego który która które których jest są był była było były być będzie mam masz ma mamy mają ja ty ona "
        "wy oni mój moja moje mojego mojej twój swój jego jej ich ten ta te tego tej tym się nie tak już też tylko "
        "bardzo więcej mniej proszę napisz wyjaśnij przetłumacz daj zrób pokaż możesz może mogę można muszę chcę "
        "chciałbym potrzebuję dziękuję dzięki cześć hej dzień dobry streść pomóż pomoc teraz wszystko wszystkie "
        "każdy dwa trzy lepiej rok zdanie tekst polski polsku angielski różnica oblicz jaki jaka jakie ile mi mnie "
        "cię dziś jutro sobie gdy jeśli podaj opisz dokończ uzupełnij sprawdź popraw posortuj narysuj wygeneruj "
        "wymyśl opowiedz rozwiąż porównaj wymień wypisz znajdź wyślij zadzwoń przeczytaj krótkie dom woda pies kot "
        "dziecko człowiek kobieta historia wiersz obraz tydzień miesiąc godzina świat życie miasto kraj według "
        "znaczy ciebie same kod"
    ),
    "cs": (
        "ve ze na od po za ke si pro bez pod nad před mezi nebo ale že protože jak co kdo kde kdy proč který která "
        "které jsou byl byla bylo být bude mám máš má máme mají já ona vy oni můj moje tvůj svůj jeho její jejich "
        "ten ta tento tato toto ne ano už také jen velmi více méně prosím napiš vysvětli přelož dej udělej ukaž "
        "můžeš může mohu musím chci chtěl potřebuji děkuji ahoj dobrý den shrň pomoz pomoc teď všechno každý dva "
        "tři lépe rok věta česky anglicky rozdíl spočítej jaký jaká jaké kolik mi mě tě dnes zítra jsem jsi jsme "
        "jste není když pokud aby nejlepší při podle dokonči doplň zkontroluj oprav seřaď nakresli vygeneruj "
        "vymysli vyprávěj vyřeš porovnej vyjmenuj najdi pošli zavolej přečti krátký dům voda pes kočka dítě člověk "
        "žena příběh báseň obrázek týden měsíc hodina svět život město země znamená"
    ),
    "tr": (
        "ve veya ile için bir bu şu o ne nasıl neden niçin nerede zaman hangi kim mi mı mu mü da de ki ama çünkü "
        "eğer gibi kadar daha en çok az var yok değil olan olarak oldu olur olduğunu ben sen biz siz onlar benim "
        "senin bizim sizin bana sana bize onu bunu lütfen yaz yazar mısın misin açıkla çevir ver yap göster yardım "
        "et eder edebilir istiyorum gerekiyor lazım teşekkürler teşekkür merhaba selam günaydın özetle şimdi her "
        "şey tüm iki üç iyi cümle metin türkçe ingilizce fark arasındaki hesapla bugün yarın dün sonra önce "
        "üzerine hakkında kısa bul söyle nedir kaç musun müsün içinde tane tamamla kontrol düzelt sırala çiz üret "
        "uydur anlat çöz karşılaştır listele gönder ara oku kod kodu ev su köpek kedi çocuk adam kadın hikaye şiir "
        "resim hafta ay saat dünya hayat şehir ülke göre demek çevirir"
    ),
    "vi": (
        "và của là có không cho với các những một này đó được trong ngoài trên dưới từ đến đi tôi bạn anh chị em "
        "chúng ta họ nó gì ai đâu nào sao tại vì như thế khi nếu thì mà nhưng hoặc rất cũng đã đang sẽ hãy viết "
        "giải thích dịch làm giúp cần muốn xin chào cảm ơn tóm tắt bây giờ tất cả mỗi hai ba câu văn tiếng việt "
        "khác nhau tính bao nhiêu về người hay phải nhất ngày năm hoàn thành kiểm tra sửa sắp xếp vẽ tạo kể so "
        "sánh liệt kê tìm gửi gọi đọc nhà nước chó mèo trẻ truyện thơ ảnh tuần tháng giới cuộc sống phố theo nghĩa"
    ),
}
"""Words of questions and tasks, by language."""
LETTERS: Mapping[str, str] = {
    "de": "ßä",
    "de tr": "öü",
    "es": "ñ¿¡",
    "pt vi": "ãõ",
    "fr pt tr": "ç",
    "fr": "œîû",
    "fr it vi": "ùè",
    "fr pt vi": "êôâ",
    "fr it pt vi": "à",
    "it vi": "ìò",
    "fr nl": "ë",
    "pl": "łąęśżźćń",
    "cs": "řěůčšžďť",
    "cs vi": "ý",
    "tr": "şğı",
    "vi": "đươă",
    "es pt cs vi": "íáú",
    "es pt pl vi": "ó",
}
"""Letters that few of these languages write, by those that do."""
_RANGES = (
    ("ko", "\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f"),
    ("ja", "\u3040-\u30ff"),
    ("zh", "\u3400-\u4dbf\u4e00-\u9fff"),
    ("hi", "\u0900-\u097f"),
    ("ar", "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc"),
    ("ru", "\u0400-\u04ff"),
)
"""Scripts, and the language that each is taken for."""
_SCRIPTS = [(language, lazily.pattern(f"[{letters}]")) for language, letters in _RANGES]
_FOREIGN = lazily.pattern(f"[{''.join(letters for _, letters in _RANGES)}]")
_VIETNAMESE = lazily.pattern("[\u1ea0-\u1ef9]")
_UKRAINIAN, _RUSSIAN = lazily.pattern("[іїєґІЇЄҐ]"), lazily.pattern("[ыэъёЫЭЪЁ]")
_LATIN = lazily.pattern(r"[a-zA-Z\u00c0-\u024f\u1ea0-\u1ef9]")
_LETTER = lazily.pattern(r"[^\W\d_]")
_WORD = lazily.pattern(r"[^\W\d_]+(?:['’\-][^\W\d_]+)*")


def _weights() -> dict[str, tuple[tuple[str, float], ...]]:
    """What each word says for which languages."""
    of: dict[str, list[str]] = {}
    for language, words in WORDS.items():
        for word in set(words.split()):
            of.setdefault(word, []).append(language)
    # A single letter is a word of many languages, and a name in formulas and programs.
    size = {word: min(1.0, len(word) / 3) / len(theirs) for word, theirs in of.items()}
    return {word: tuple((language, size[word]) for language in theirs) for word, theirs in of.items()}


_SAYS = _weights()
_LETTER_SAYS = {
    letter: tuple((language, LETTER / len(theirs.split())) for language in theirs.split())
    for theirs, letters in LETTERS.items()
    for letter in letters
}


def of_text(text: str) -> str:
    """The language of a text; '' = not known. Takes about as long for any length."""
    seen = text if len(text) <= HEAD + TAIL else f"{text[:HEAD]} {text[-TAIL:]}"
    if not seen.isascii() and (found := _by_script(seen)):
        return found
    if len(seen) > 2 * START and (found := _by_words(seen[:START], CLEAR)):
        return found
    return _by_words(seen, LEAD)


def _by_script(text: str) -> str:
    """The language of a text that is written in other than Latin letters for a good part."""
    if _FOREIGN.search(text) is None:
        return "vi" if len(_VIETNAMESE.findall(text)) > 1 else ""
    counts = {language: len(script.findall(text)) for language, script in _SCRIPTS}
    # A sign of Chinese, Japanese or Korean says as much as three letters.
    foreign = 3 * (counts["zh"] + counts["ja"] + counts["ko"]) + counts["hi"] + counts["ar"] + counts["ru"]
    first = _LETTER.search(text)
    share = OPENING if first is not None and not _LATIN.match(first[0]) else QUOTED
    if sum(counts.values()) < 2 or foreign * share <= len(_LATIN.findall(text)):
        return "vi" if len(_VIETNAMESE.findall(text)) > 1 else ""
    if counts["ja"] and counts["ja"] * 10 > counts["zh"]:
        return "ja"
    best = max(counts, key=lambda language: counts[language])
    if best == "ru" and len(_UKRAINIAN.findall(text)) > len(_RUSSIAN.findall(text)):
        return "uk"
    return best


def _by_words(text: str, lead: float) -> str:
    """The language of a text in Latin letters, if its words say so many times as much for it as for the next."""
    says: dict[str, float] = {}
    lower = text.lower()
    if not lower.isascii():
        lower = lower.replace("’", "'")
    words = _WORD.findall(lower)
    for number, word in enumerate(words):
        times = FIRST if number < FIRST_WORDS else 1
        for language, weight in _SAYS.get(word, ()):
            says[language] = says.get(language, 0) + times * weight
    if not lower.isascii():
        for letter in set(lower):
            for language, weight in _LETTER_SAYS.get(letter, ()):
                says[language] = says.get(language, 0) + weight
    if not says:
        return "en" if len(words) > 2 and lower.isascii() else ""
    *_, second, best = ("", *sorted(says, key=lambda language: says[language]))
    most = says[best]
    return best if most >= LEAST and most >= lead * says.get(second, 0) else ""
