"""Which language a text is written in: by script, and for Latin and Cyrillic script by the commonest short words.

Own tables, no download. Made to tell whole answers of a sentence or more apart; a text without enough evidence has no language here.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_SCRIPTS = {
    "GREEK": "el", "HEBREW": "he", "ARABIC": "ar", "DEVANAGARI": "hi", "BENGALI": "bn", "TAMIL": "ta", "TELUGU": "te", "GUJARATI": "gu",
    "KANNADA": "kn", "MALAYALAM": "ml", "GURMUKHI": "pa", "THAI": "th", "HANGUL": "ko", "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh",
    "GEORGIAN": "ka", "ARMENIAN": "hy", "CYRILLIC": "cyrillic", "LATIN": "latin",
}  # fmt: skip

_WORDS = {
    "en": "the and of to in is that it was for with as on are this be by not have from or which you they were but an his her has at we",
    "de": "der die das und ist nicht ein eine zu den von mit sich auf für im dem des auch es "
    "ich wir sie werden als wie aber oder nach bei sind",
    "fr": "le la les et est des une un du que qui dans pour pas sur avec ce il elle au sont nous vous plus par mais ou se ne cette être",
    "es": "el la los las y es de que en un una por con no para su se del al lo como más pero sus este esta son muy hay también fue",
    "pt": "o a os as e é de que em um uma por com não para seu se do da no na como mais mas dos das são muito também foi ao pelo",
    "it": "il lo la gli le e è di che in un una per con non si del della al come più ma dei sono anche nel alla questo questa ha delle",
    "nl": "de het een en is van dat in op te niet met voor zijn er aan die ook als maar om bij wordt naar dan ze hij uit nog werd",
    "sv": "och att det är som en på av för med den till inte om ett har de var jag så men från kan vi han hon sig eller när också",
    "da": "og at det er en på af for med den til ikke om et har de var jeg så men fra kan vi han hun sig eller når også blev hvor",
    "no": "og å det er en på av for med den til ikke om et har de var jeg så men fra kan vi han hun seg eller når også ble hvor",
    "fi": "ja on ei se että oli hän mutta kun niin myös ovat joka tai kuin mitä sen hänen olla voi vain ole nyt kanssa jos sitä tämä",
    "pl": "i w nie na się z że do jest to jak o ale po co od za czy tak są przez jego był tego dla może już tylko który jako",
    "cs": "a se v na je že to s z do o i jako za by ale po si tak jsou při jeho která není nebo pro který jsme byl když",
    "tr": "ve bir bu da için de ile çok ne daha gibi olarak olan var kadar ama sonra en her şey mi değil ben o biz ise göre veya",
    "id": "yang dan di dengan untuk dari pada ini itu tidak dalam adalah akan ke oleh juga "
    "atau sebagai ada bisa karena mereka kami saya lebih",
    "vi": "và của là có không được trong cho một với người các này đã những để khi từ đến như về ra cũng nhưng rất nhiều trên tôi",
    "ro": "și de în la cu nu o este pe un care din că se pentru mai sunt au fost ca dar sau prin această acest fi ce lui după",
    "hu": "a az és nem hogy egy is van meg de csak ez volt mint már ha el még ki azt be vagy kell fel minden lehet nagyon",
    "ru": "и в не на что с он как это по но она из к у за от был так же для все его мы они бы если только "
    "или когда а о до ни уже чтобы есть где нет их было быть очень",
    "uk": "і в не на що з він як це та до але вона із у за від був так же для все його ми вони би якщо тільки або коли є",
    "bg": "и в не на че с той като това по но тя от за е да се са си ще беше така от му когато или само които има бе",
}  # fmt: skip
_TABLES = {language: frozenset(words.split()) for language, words in _WORDS.items()}
_CYRILLIC = ("ru", "uk", "bg")
_ONLY = {
    "uk": "іїєґ", "ru": "ыэё", "de": "ß", "pl": "łąęśżź", "cs": "řěů", "tr": "ğı", "ro": "șță", "hu": "őű", "es": "ñ¿¡", "pt": "ãõ",
    "sv": "", "da": "", "no": "", "fr": "œ", "vi": "đơư",
}  # fmt: skip
"""Letters that occur in this language of the table and hardly in the others."""

LANGUAGES = tuple(sorted({*_TABLES, *(code for code in _SCRIPTS.values() if code not in ("cyrillic", "latin"))}))
ENOUGH_WORDS = 4
ENOUGH_HITS = 0.12
"""Share of words that must be common words of the language."""


def language_of(text: str) -> str | None:
    """Two-letter code of the text's language; None where there is too little to tell."""
    letters = Counter(filter(None, map(_script, (c for c in text[:5000] if c.isalpha()))))
    if not letters:
        return None
    total = sum(letters.values())
    if letters["HIRAGANA"] + letters["KATAKANA"] > 0.1 * total:
        return "ja"
    script, count = letters.most_common(1)[0]
    if count < 0.6 * total:
        return None
    code = _SCRIPTS[script]
    if code not in ("cyrillic", "latin"):
        return code
    return _by_words(text, [c for c in _TABLES if (c in _CYRILLIC) == (code == "cyrillic")])


def _script(letter: str) -> str | None:
    name = unicodedata.name(letter, "").split(" ")[0]
    return name if name in _SCRIPTS else None


def _by_words(text: str, languages: list[str]) -> str | None:
    words = re.findall(r"[^\W\d_]+", text.lower())[:1000]
    if len(words) < ENOUGH_WORDS:
        return None
    lowered = text.lower()
    scores = {}
    for language in languages:
        hits = sum(word in _TABLES[language] for word in words) / len(words)
        marks = sum(lowered.count(mark) for mark in _ONLY.get(language, "")) / len(words)
        scores[language] = (hits + min(marks, 0.3), hits)
    best = max(scores, key=lambda language: scores[language])
    others = max((value[0] for language, value in scores.items() if language != best), default=0.0)
    total, _ = scores[best]
    return best if total >= ENOUGH_HITS and total > others else None
