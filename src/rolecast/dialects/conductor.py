"""Conductor's paths to models: `/generate`, a path for each task, and `/chat/completions` with a prompt.

They are on every port but those of PAS, and made for each port, because a configuration says what a category means.
`/generate` is Ollama's as well, and `/chat/completions` OpenAI's: the body decides.
"""

from collections.abc import Callable, Mapping

import msgspec

from rolecast.config.categories import Categories
from rolecast.config.labels import CHATTING
from rolecast.config.schema import Config, Listener
from rolecast.dialects import Entry, Read, Writer, conductor_writer
from rolecast.dialects.conductor_body import MISSING, Bodies, Prompted
from rolecast.dialects.openai import OpenAI, read_chat
from rolecast.dialects.operation import Reference
from rolecast.dialects.request import Request
from rolecast.errors import Invalid, RolecastError
from rolecast.values import Caller, Chat

TASKS = {
    "/code/completion": "code_completion",
    "/code/generation": "code_generation",
    "/translate": "translation",
    "/math/solve": "mathematical_reasoning",
    "/research/analyze": "scientific_research",
    "/legal/analyze": "legal_analysis",
    "/summarize": "summarization",
}
CHAT = "/chat/completions"
Note = Callable[[str, str], None]
"""Told the id of a key and that of a session, whenever a request of it is asked of a model."""


class Conductor:
    """Prompts in Conductor's own words."""

    id_header = ping = b""

    def __init__(self, note: Note) -> None:
        self._note = note

    def chat(self, request: Request) -> Chat:
        """A prompt in words of no dialect."""
        assert request.chat is not None
        return request.chat

    def writer(self, request: Request, model: str) -> Writer:
        """Writes an answer to nobody in particular."""
        return self.writer_for(request, Caller(), model)

    def writer_for(self, request: Request, caller: Caller, model_id: str) -> Writer:
        """Writes pieces, or one whole object; its session is the body's, else that of the header."""
        assert isinstance(request, Prompted)
        session = request.session or caller.session
        if session:
            self._note(caller.key, session)
        return conductor_writer.writer(request, session, model_id)

    def paths(self, limits: object) -> Mapping[str, Read]:
        """None that are the same on every port."""
        return {}

    def error(self, error: RolecastError, *, started: bool = False) -> bytes:
        """The one shape of all pages, whose `detail` is Conductor's; the last line of a stream of Ollama's."""
        return error.body() + b"\n" * started

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import conductor_reference

        return conductor_reference.REFERENCE


class ChatOrPrompt(OpenAI):
    """OpenAI's chats, and Conductor's prompts where a body has no messages."""

    id_header = ping = b""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor

    def writer_for(self, request: Request, caller: Caller, model_id: str) -> Writer:
        """Conductor's writer for a prompt; else OpenAI's, which tells the name that was asked for."""
        if isinstance(request, Prompted):
            return self._conductor.writer_for(request, caller, model_id)
        return self.writer(request, request.asked or model_id)

    def reference(self) -> Reference:
        """What its paths take and give."""
        from rolecast.dialects import conductor_reference

        return conductor_reference.CHAT_OR_PROMPT


def on_port(hot: Mapping[bytes, Entry], listener: Listener, config: Config, note: Note) -> dict[bytes, Entry]:
    """The same paths, and Conductor's besides."""
    most = int(config.server.limits.messages)
    bodies = Bodies(Categories.of(config), listener.model or "", most)
    conductor = Conductor(note)
    reads: dict[str, Read] = {
        "/generate": bodies.of_either,
        "/conductor/generate": bodies.of(),
        "/generate/stream": bodies.streamed,
        "/conductor/generate/stream": bodies.streamed,
        **{path: bodies.of(category) for path, category in TASKS.items()},
    }
    found = {**hot, **{path.encode(): Entry(path, read, conductor) for path, read in reads.items()}}
    entry = hot[CHAT.encode()]
    chat = read_chat(most, _prompt_or_neither(bodies.of(CHATTING)))
    return found | {CHAT.encode(): msgspec.structs.replace(entry, read=chat, dialect=ChatOrPrompt(conductor))}


def _prompt_or_neither(prompt: Read) -> Read:
    def read(body: bytes) -> Request:
        try:
            return prompt(body)
        except Invalid as error:
            if error.code != MISSING:
                raise
            text = "`messages` is missing, a list of objects with `role` and `content`; or `prompt`, a text"
            raise Invalid(f"{text}, for an answer as Conductor gives it.", param="messages") from None

    return read
