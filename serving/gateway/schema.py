"""Which fields of /v1/chat/completions pass, within which bounds. Everything else is refused by name.

A refusal is better than a silent drop: who asks for `best_of` and gets one sample without a word is misled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json, to_json

from serving.gateway.errors import GatewayError, bad_request
from serving.gateway.messages import Conversation, json_size, read_messages
from serving.gateway.settings import Limits

_INT64 = 2**63

# Fields of vLLM or OpenAI that people do send, and why they stop here.
REFUSED = {
    "mm_processor_kwargs": "it reaches into how the engine loads and runs its image processor",
    "media_io_kwargs": "images are decoded by the gateway; use `window` and `frame` in image_url",
    "chat_template": "the prompt's form belongs to the model",
    "chat_template_kwargs": "the prompt's form belongs to the model",
    "add_generation_prompt": "the prompt's form belongs to the model",
    "continue_final_message": "the prompt's form belongs to the model",
    "add_special_tokens": "the prompt's form belongs to the model",
    "echo": "the prompt's form belongs to the model",
    "documents": "the prompt's form belongs to the model: put the text into a message",
    "cache_salt": "the gateway sets one for each key, so that callers share no cache",
    "prompt_embeds": "tensors of callers are not loaded",
    "kv_transfer_params": "it steers the engine's own network",
    "ec_transfer_params": "it steers the engine's own network",
    "vllm_xargs": "it reaches into the engine's extensions",
    "priority": "it would let one key pass the others",
    "request_id": "send the header x-request-id",
    "session_id": "the gateway keeps no sessions",
    "prompt_logprobs": "it costs a row of the vocabulary for each prompt token",
    "return_prompt_text": "the prompt's form belongs to the model",
    "best_of": "use n",
    "use_beam_search": "only sampling is served",
    "length_penalty": "only sampling is served",
    "truncate_prompt_tokens": "a cut prompt loses images without a word: send a shorter one",
    "functions": "it is deprecated: use tools",
    "function_call": "it is deprecated: use tool_choice",
    "store": "nothing that passes is stored",
    "metadata": "nothing that passes is stored",
    "modalities": "answers are text",
    "audio": "answers are text",
    "service_tier": "there is one tier",
    "web_search_options": "nothing is fetched",
    "prediction": "predicted outputs are not served",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Part):
    include_usage: bool = False


class JsonSchema(_Part):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = Field(default=None, max_length=2048)
    strict: bool | None = None


class ResponseFormat(_Part):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class StructuredOutputs(_Part):
    """Only the forms whose cost is bounded: a list of answers, or a JSON schema. No regex, no grammar."""

    choice: list[Annotated[str, Field(min_length=1, max_length=512)]] | None = Field(
        default=None, min_length=1, max_length=256
    )
    json_: dict[str, Any] | None = Field(default=None, alias="json")


class Function(_Part):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = Field(default=None, max_length=8192)
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(_Part):
    type: Literal["function"]
    function: Function


class FunctionName(_Part):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")


class NamedTool(_Part):
    type: Literal["function"]
    function: FunctionName


_Number = Annotated[float, Field(strict=False, allow_inf_nan=False)]
_Token = Annotated[int, Field(ge=0, lt=2**31)]


class ChatFields(_Part):
    """Every field that passes, but `messages`. None = not given; the engine's default holds."""

    model: str | None = Field(default=None, max_length=256)
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    min_tokens: int | None = Field(default=None, ge=0)
    n: int | None = Field(default=None, ge=1)
    temperature: _Number | None = Field(default=None, ge=0, le=2)
    top_p: _Number | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, lt=2**31)
    min_p: _Number | None = Field(default=None, ge=0, le=1)
    frequency_penalty: _Number | None = Field(default=None, ge=-2, le=2)
    presence_penalty: _Number | None = Field(default=None, ge=-2, le=2)
    repetition_penalty: _Number | None = Field(default=None, gt=0, le=10)
    seed: int | None = Field(default=None, ge=-_INT64, lt=_INT64)
    stop: Annotated[str, Field(max_length=256)] | list[Annotated[str, Field(max_length=256)]] | None = None
    stop_token_ids: list[_Token] | None = Field(default=None, max_length=64)
    include_stop_str_in_output: bool | None = None
    ignore_eos: bool | None = None
    skip_special_tokens: bool | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    logprob_token_ids: list[_Token] | None = Field(default=None, max_length=64)
    return_token_ids: bool | None = None
    logit_bias: dict[str, Annotated[_Number, Field(ge=-100, le=100)]] | None = Field(default=None, max_length=512)
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    tools: list[Tool] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    user: str | None = Field(default=None, max_length=256, description="taken for compatibility, goes no further")


@dataclass(slots=True)
class ChatRequest:
    """A chat request that may be served: fields within bounds, messages checked, images still to be drawn."""

    fields: ChatFields
    talk: Conversation
    max_tokens: int | None  # None: what the context leaves
    n: int

    def fill_max_tokens(self, context: int | None, default: int) -> int:
        """Settle how long an answer may be when the request does not say. Returns the most that may come, in tokens.

        A number of ours would make vLLM refuse prompts that fill a small context, so there its rest is the bound.
        """
        if self.max_tokens is None:
            if context is not None and context <= 4 * default:
                return context
            self.max_tokens = max(default, self.fields.min_tokens or 0)
        return self.max_tokens

    @property
    def wants_usage(self) -> bool:
        return bool(self.fields.stream_options and self.fields.stream_options.include_usage)

    def engine_body(self, model: str, cache_salt: str) -> bytes:
        """The JSON sent to the engine, written anew from what was understood. Call it when the images are drawn."""
        names = {"user", "stream_options", "max_tokens", "max_completion_tokens", "model"}
        body = self.fields.model_dump(exclude_none=True, exclude=names, by_alias=True)
        body |= {"model": model, "messages": self.talk.messages, "n": self.n}
        if self.max_tokens is not None:
            body["max_tokens"] = self.max_tokens
        body["cache_salt"] = cache_salt
        if self.fields.stream:
            body["stream_options"] = {"include_usage": True}  # counted here, passed on only if it was asked for
        rest, pieces = to_json(body), []
        for image, picture in zip(self.talk.images, self.talk.pictures, strict=True):
            # Put in as bytes: megabytes of base64 hold nothing to escape, and looking for it costs more than the rest.
            before, _, rest = rest.partition(image.mark.encode())
            pieces += [before, picture]
        return b"".join((*pieces, rest))


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object, or GatewayError 400. NaN, lone surrogates and bottomless nesting are no JSON."""
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        # The parser's sentence ends in "at line 1 column 20" and holds nothing of the body.
        place = re.search(r"at line \d+ column \d+$", str(error))
        raise bad_request("bad_json", f"The body is not JSON{f' ({place.group()})' if place else ''}.") from None
    if not isinstance(value, dict):
        raise bad_request("bad_json", 'The body is JSON, but not an object: {"model": ..., "messages": [...]}.')
    return value


def read_chat(body: bytes, limits: Limits, reserved: tuple[str, ...]) -> ChatRequest:
    """Check a chat request.

    Raises:
        GatewayError: 400 or 415, naming the field and the bound, never the value.
    """
    raw = {name: value for name, value in parse_json(body).items() if value is not None}
    messages = raw.pop("messages", None)
    for name in raw:
        if name in REFUSED:
            raise bad_request("field_refused", f"`{name}` is refused: {REFUSED[name]}.", name)
    try:
        fields = ChatFields.model_validate(raw)
    except ValidationError as error:
        raise _first(error) from None
    max_tokens, n = _bounds(fields, limits, reserved)
    return ChatRequest(fields, read_messages(messages, limits, reserved), max_tokens, n)


def _bounds(fields: ChatFields, limits: Limits, reserved: tuple[str, ...]) -> tuple[int | None, int]:
    """(max_tokens, n), and all bounds that are settings."""
    n = fields.n or 1
    if n > limits.n:
        raise bad_request("n_too_large", f"`n` is at most {limits.n} here.", "n")
    if fields.max_tokens and fields.max_completion_tokens and fields.max_tokens != fields.max_completion_tokens:
        raise bad_request("bad_max_tokens", "Give max_tokens or max_completion_tokens, not two numbers.", "max_tokens")
    wanted = fields.max_completion_tokens or fields.max_tokens
    if wanted and wanted > limits.max_tokens:
        raise bad_request("max_tokens_too_large", f"`max_tokens` is at most {limits.max_tokens} here.", "max_tokens")
    longest = wanted or limits.max_tokens
    if (fields.min_tokens or 0) > longest:
        raise bad_request("bad_min_tokens", f"`min_tokens` is above max_tokens ({longest}).", "min_tokens")
    if isinstance(fields.stop, list) and len(fields.stop) > 16:
        raise bad_request("bad_stop", "`stop` holds at most 16 strings.", "stop")
    if fields.stream_options and not fields.stream:
        raise bad_request("bad_stream_options", "`stream_options` needs stream: true.", "stream_options")
    _check_schemas(fields, limits, reserved)
    return wanted, n


def _check_schemas(fields: ChatFields, limits: Limits, reserved: tuple[str, ...]) -> None:
    tools = fields.tools or []
    if len(tools) > limits.tools:
        raise bad_request("too_many_tools", f"At most {limits.tools} tools.", "tools")
    schemas: list[tuple[str, Any]] = [(f"tools[{i}]", tool.function.model_dump()) for i, tool in enumerate(tools)]
    format_ = fields.response_format
    if format_ and (format_.type == "json_schema") != (format_.json_schema is not None):
        raise bad_request("bad_response_format", "`json_schema` goes with type json_schema.", "response_format")
    if format_ and format_.json_schema:
        schemas.append(("response_format", format_.json_schema.schema_))
    if fields.structured_outputs:
        if (fields.structured_outputs.choice is None) == (fields.structured_outputs.json_ is None):
            raise bad_request("bad_structured_outputs", "Give one of `choice` and `json`.", "structured_outputs")
        schemas.append(("structured_outputs", fields.structured_outputs.json_ or {}))
    for where, schema in schemas:
        if json_size(schema) > limits.schema_bytes:
            raise bad_request("schema_too_large", f"A schema has at most {limits.schema_bytes} bytes here.", where)
    if tools and any(token in to_json([tool.model_dump() for tool in tools]).decode() for token in reserved):
        raise bad_request("reserved_token", "A tool's text holds a token by which the prompt is built.", "tools")


def _first(error: ValidationError) -> GatewayError:
    """The first thing pydantic found, without the value it found."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in first["loc"]).lstrip(".")
    shown = where if re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,80}", where) else None
    if first["type"] == "extra_forbidden":
        name = f"`{shown}`" if shown else "of that name"
        return bad_request("unknown_field", f"There is no field {name} here: remove it.", shown)
    return bad_request("bad_value", f"`{shown or 'a field'}`: {first['msg']}.", shown)
