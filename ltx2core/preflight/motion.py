"""Whether a caption says that something moves. A LoRA from captions without motion makes still videos."""

from __future__ import annotations

import re

# Stems of what moves, and how a camera moves; endings are added below.
_VERBS = (
    "accelerat approach ascend bend blink blow bounc bow breath bubbl burn chas circl clap climb coll crawl creep cruis cry danc dart dash descend div drag "
    "drift driv drop eat emerg enter escap exit explod fad fall fight flap flash flee flicker flip float flow flutter fly follow gallop gestur gaz glanc glid grab grow "
    "hop hover hurr jog jok jump kick kiss knock laugh leap leav lift march melt mov nod orbit pac paddl pan pass peel pick pitch plung point pour "
    "pull puls push rac rais reach reced retreat revers rid ripp ris roar roll rotat run rush sail scroll shak shift shoot shrink shrug sing sink skat ski "
    "skip slid slip smash smil snap soar spark speak spill spin splash spray spread sprint squat stagger steer stir stomp stretch stroll strut stumbl surf "
    "sway sweep swim swing swirl switch talk tap throw tilt toss transform travel trembl trot truck tumbl turn twirl twist unfold vibrat wad walk wander "
    "whirl whisper wiggl wink writ yawn zip zoom"
).split()
# Stems that stand for things or looks as well ("close-up", "a rock"), and count with the endings of a doing alone.
_UNSURE = "clos land rock typ row slow lean track open cross press wav step".split()
_NOUNS = "motion movement moving dolly timelapse time-lapse slow-motion handheld tracking panning fade jib crane pull-back push-in".split()
_PAST = "ran flew fell drove rode rose swam sang sank spoke stood swung threw shook spun went came crept fled grew left led slid wove ate drew wrote".split()
# Words that end like a verb and are none.
_STILL = frozenset(
    "building ceiling clothing during earring evening king lighting morning nothing painting ring something string thing anything everything spring wing railing "
    "drawing being setting standing sitting wearing looking holding lying showing featuring facing surrounding including having sling wedding feeling meaning "
    "clearing landing opening parking dining living interesting amazing stunning striking charming outstanding according depending".split()
)
_ENDINGS = r"(?:s|es|ed|d|e|ing|ning|ming|ping|ting|ring|ling|ging|ned|med|ped|ted|led|ies|ied|y)?"
_MOTION = re.compile(
    r"\b(?:(?:" + "|".join(_VERBS) + ")" + _ENDINGS + "|(?:" + "|".join(_UNSURE) + ")(?:ed|ing|ped|ping)|" + "|".join([*_NOUNS, *_PAST]) + r")\b", re.IGNORECASE
)
_PROGRESSIVE = re.compile(r"\b([a-z]{3,}ing)\b", re.IGNORECASE)
_LATIN = re.compile(r"[A-Za-z]")


def is_judged(caption: str) -> bool:
    """Whether the words are of a script and length that the list below can say something of: mostly Latin letters, two words."""
    letters = [c for c in caption if c.isalpha()]
    return len(caption.split()) > 1 and len(letters) > 0 and len(_LATIN.findall(caption)) >= 0.8 * len(letters)


def names_motion(caption: str) -> bool:
    """True where a verb of movement, a camera's move, or any other doing ("-ing") is named; English."""
    if _MOTION.search(caption):
        return True
    return any(word.lower() not in _STILL for word in _PROGRESSIVE.findall(caption))
