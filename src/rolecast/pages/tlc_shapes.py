"""What the pages of the domain classifier read and answer. All struct types; `Refused` is the shape of PAS's 422."""

from typing import Annotated, Any, Literal

import msgspec

MOST = 256
"""Questions of one request."""
MOST_REFINED = 16
"""As many of them may be put to a language model."""
MOST_DOCUMENTS = 100

Query = Annotated[str, msgspec.Meta(min_length=1)]
Queries = Annotated[list[Query], msgspec.Meta(min_length=1, max_length=MOST)]
Documents = Annotated[list[str], msgspec.Meta(max_length=MOST_DOCUMENTS)]
SchemeName = Literal["seed", "v1", "v2", "pas_l0"]
Method = Literal["DENSE", "SPARSE", "HYBRID", "GRAPH"]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class TlcBody(msgspec.Struct):
    """A question in `query`, or several in `queries`, and what comes with them."""

    query: Query | None = None
    queries: Queries | None = None
    context_docs: Documents | None = None
    scheme: SchemeName | None = None
    """Whose names and codes are wanted; the seed's if nothing is said."""


class ClassifyBody(TlcBody):
    top_k: Annotated[int, msgspec.Meta(ge=1, le=10)] | None = None
    """So many domains are told; 3 if nothing is said."""
    refine: bool | None = None
    """A language model names the domain."""


class ExtractBody(TlcBody):
    method_hint: Method | None = None
    """The method that is taken."""
    refine: bool | None = None


class ValidateBody(TlcBody, kw_only=True):
    """A name of a domain, and perhaps texts that may be of it."""

    domain: Query


class DomainConfidence(msgspec.Struct):
    domain: str
    confidence: Share
    code: int | msgspec.UnsetType | None = msgspec.UNSET
    """In schemes with codes; null for what has none."""


class TlcMetadata(msgspec.Struct):
    processing_time_ms: float
    model_used: str
    llm_raw_response: str | None
    """What a language model said, where one was asked."""
    fallback: bool
    """The domain is not known: OTHER stands for it, and its confidence is what it is worth."""
    scheme: SchemeName
    taxonomy_version: str
    unsure: list[str] = []
    """What may well be something else."""
    learned: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    """What the learned model says, where a language model has answered."""
    refine_error: str | msgspec.UnsetType = msgspec.UNSET
    """Why a language model was of no use; the learned answer stands."""


class Classified(msgspec.Struct):
    query: str
    domains: list[DomainConfidence]
    """The likeliest first."""
    primary_domain: str
    metadata: TlcMetadata


class Tmd(msgspec.Struct):
    task: str
    method: str
    domain: str


class TmdConfidence(msgspec.Struct):
    task: Share
    method: Share
    domain: Share


class TmdLabels(msgspec.Struct):
    """The names in another scheme, and how sure they are."""

    domain: str
    confidence: dict[str, Share]
    task: str | msgspec.UnsetType = msgspec.UNSET
    modifier: str | msgspec.UnsetType = msgspec.UNSET


class TmdCodes(msgspec.Struct):
    domain: int
    task: int
    modifier: int


class Extracted(msgspec.Struct):
    """Task, method and domain by the seed's names; the rest is there for the schemes that have it."""

    query: str
    tmd: Tmd
    confidence: TmdConfidence
    metadata: TlcMetadata
    labels: TmdLabels | msgspec.UnsetType = msgspec.UNSET
    codes: TmdCodes | msgspec.UnsetType | None = msgspec.UNSET
    """Null for a domain that the scheme does not have."""
    packed: int | msgspec.UnsetType = msgspec.UNSET
    """The codes in 16 bits."""
    bits: str | msgspec.UnsetType = msgspec.UNSET
    """The same, written in binary."""
    lane: int | msgspec.UnsetType = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    """`domain.task.modifier`."""
    vector: list[float] | msgspec.UnsetType = msgspec.UNSET
    """16 numbers of length 1."""
    domain_l0: str | msgspec.UnsetType = msgspec.UNSET
    """For `pas_l0`, as in the next two."""
    domain_path: str | msgspec.UnsetType = msgspec.UNSET
    domain_conf: Share | msgspec.UnsetType = msgspec.UNSET


class Validated(msgspec.Struct):
    domain: str
    """As the taxonomy spells it."""
    known: bool
    """The taxonomy has such a domain."""
    valid: bool
    """It is known, and the text is of it."""
    query: str | None = None
    confidence: Share | None = None
    """How probably the text is of it."""
    primary_domain: str | None = None
    """What the text is of."""
    did_you_mean: list[str] = []
    metadata: TlcMetadata | None = None


class BatchMetadata(msgspec.Struct):
    processing_time_ms: float


class Batch(msgspec.Struct):
    """Answers to `queries`, in their order."""

    results: list[dict[str, Any]]
    count: int
    metadata: BatchMetadata


CLASSIFIED = (Classified, Batch)
EXTRACTED = (Extracted, Batch)
VALIDATED = (Validated, Batch)


class Mistake(msgspec.Struct):
    loc: list[str | int]
    msg: str
    type: str


class MistakeError(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class Refused(msgspec.Struct):
    """What is wrong, once for people and once for programs that read `detail` as a list."""

    error: MistakeError
    detail: list[Mistake]


class TaxonomyBits(msgspec.Struct):
    domain: int
    task: int
    modifier: int


class Taxonomy(msgspec.Struct):
    """The code of a name is its place in its list, counted from 0, where `bits` are told."""

    name: SchemeName
    version: str
    says: str
    domains: list[str]
    tasks: list[str]
    methods: list[str]
    modifiers: list[str]
    bits: TaxonomyBits | None
    of_seed: dict[str, list[str]]
    """For each domain of the seed's: where it may go."""


class Taxonomies(msgspec.Struct):
    taxonomies: list[Taxonomy]
