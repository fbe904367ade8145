"""A summary of turns that no longer fit, written by the model that answers their session, after an answer.

It takes the place of what it tells of. Whatever goes wrong, the turns are dropped as if there were none.
"""

import logging
from collections.abc import Sequence

from msgspec.structs import replace

from rolecast.books.sessions import Turn
from rolecast.errors import RolecastError
from rolecast.turn.ask import Asker, behind
from rolecast.turn.plan import Plan
from rolecast.turn.rights import OWN_WORK
from rolecast.turn.session_budget import UNKNOWN, estimate
from rolecast.values import Caller, Chat, Message, Sampling, Text

log = logging.getLogger("rolecast.sessions")

TOKENS = 256
"""Longest summary; of a small context no more than an eighth."""
FRAME = 112
"""Tokens of what is asked for it, besides the turns."""
KEPT_SHARE = 0.5
"""So much of the allowance the turns behind a summary fill at most, so that it is not written with every answer."""
TOLD = "What was said earlier in this conversation, in short:\n"
ASK = (
    "Sum up the conversation below for somebody who goes on with it: names, facts, decisions, wishes and what is still "
    "open. Leave out greetings. Write at most 120 words, as plain text."
)


def due(turns: Sequence[Turn], allowance: int) -> Sequence[Turn]:
    """The turns that a summary has to take the place of, so that the others leave some room; none while all fit."""
    sizes = [turn.tokens or estimate(turn) for turn in turns]
    if sum(sizes) <= allowance:
        return ()
    left, first = int(allowance * KEPT_SHARE), len(turns)
    while first and sizes[first - 1] <= left:
        first -= 1
        left -= sizes[first]
    return turns[:first]


async def write(
    asker: Asker, summary: str, turns: Sequence[Turn], plan: Plan, room: int, caller: Caller
) -> tuple[str, int]:
    """The summary with these turns in it, and the number of the last that it has; '' = there is none.

    What is too long for one prompt waits for the next summary.
    """
    room = room or UNKNOWN
    tokens = min(TOKENS, room // 8)
    most = room - tokens - FRAME
    texts, upto = [TOLD + summary] if summary else [], 0
    left = most - (estimate(Turn(0, 0, summary, "")) if summary else 0)
    for turn in turns:
        left -= turn.tokens or estimate(turn)
        if left < 0 and upto:
            break
        upto = turn.number
        if left < 0:  # a turn that alone is too long: its beginning has to do
            turn = replace(turn, asked=turn.asked[:most], answer=turn.answer[:most])
        texts.append(f"User: {turn.asked}\nAssistant: {turn.answer}")
    talk = Message("user", f"{ASK}\n\n---\n" + "\n".join(texts) + "\n---")
    chat = Chat(plan.asked or plan.model_id, (talk,), sampling=Sampling(max_tokens=tokens, temperature=0))
    chat = replace(chat, model=plan.model_id)
    asks = replace(behind(caller), priority=OWN_WORK)
    try:
        said = [event.text async for event in asker.ask(chat, asks) if isinstance(event, Text)]
    except RolecastError as error:
        log.info("no summary of a session: %s", error.code)
        return "", 0
    return "".join(said).strip(), upto
