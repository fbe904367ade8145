"""LiteLLM's providers: where each one is, how its key is called, and what it speaks.

Data and nothing else, as LiteLLM's documentation has it.
"""

import re

OPENAI_DIALECT = {
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "text-completion-openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "cohere": ("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "cohere_chat": ("https://api.cohere.ai/compatibility/v1", "COHERE_API_KEY"),
    "huggingface": ("https://router.huggingface.co/v1", "HF_TOKEN"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "codestral": ("https://codestral.mistral.ai/v1", "CODESTRAL_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "together_ai": ("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_AI_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
    "cerebras": ("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "perplexity": ("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
    "nvidia_nim": ("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
    "sambanova": ("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
    "deepinfra": ("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
    "moonshot": ("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
    "minimax": ("https://api.minimax.io/v1", "MINIMAX_API_KEY"),
    "zai": ("https://api.z.ai/api/paas/v4", "ZAI_API_KEY"),
    "dashscope": ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "DASHSCOPE_API_KEY"),
    "volcengine": ("https://ark.cn-beijing.volces.com/api/v3", "VOLCENGINE_API_KEY"),
    "nebius": ("https://api.studio.nebius.ai/v1", "NEBIUS_API_KEY"),
    "novita": ("https://api.novita.ai/v3/openai", "NOVITA_API_KEY"),
    "hyperbolic": ("https://api.hyperbolic.xyz/v1", "HYPERBOLIC_API_KEY"),
    "featherless_ai": ("https://api.featherless.ai/v1", "FEATHERLESS_AI_API_KEY"),
    "github": ("https://models.github.ai/inference", "GITHUB_API_KEY"),
    "meta_llama": ("https://api.llama.com/compat/v1", "LLAMA_API_KEY"),
    "voyage": ("https://api.voyageai.com/v1", "VOYAGE_API_KEY"),
    "jina_ai": ("https://api.jina.ai/v1", "JINA_AI_API_KEY"),
    "ollama": ("http://127.0.0.1:11434/v1", ""),
    "ollama_chat": ("http://127.0.0.1:11434/v1", ""),
    "lm_studio": ("http://127.0.0.1:1234/v1", ""),
    "llamafile": ("http://127.0.0.1:8080/v1", ""),
    "docker_model_runner": ("http://127.0.0.1:12434/engines/llama.cpp/v1", ""),
    "lemonade": ("http://127.0.0.1:8000/api/v1", ""),
    "hosted_vllm": ("", ""),
    "litellm_proxy": ("", ""),
    "openai_like": ("", ""),
    "custom_openai": ("", ""),
    "xinference": ("", ""),
    "infinity": ("", ""),
    "oobabooga": ("", ""),
    "aiohttp_openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
}
"""Base URL ('' = the file must say it) and the variable that LiteLLM reads the key from ('' = none is needed)."""
MESSAGES_DIALECT = frozenset({"anthropic"})
"""Those of them that are asked in Anthropic's dialect, wherever they are."""
NATIVE_ELSEWHERE = frozenset({"gemini", "cohere", "cohere_chat"})
"""They speak the OpenAI dialect at their own address only; with another `api_base` LiteLLM speaks the maker's."""
OTHER_DIALECT = frozenset(
    {"ai21", "aleph_alpha", "anthropic_text", "anyscale", "assemblyai", "azure", "azure_ai", "azure_text"}
    | {"baseten", "bedrock", "bedrock_converse", "clarifai", "cloudflare", "databricks", "datarobot", "deepgram"}
    | {"elevenlabs", "fal_ai", "friendliai", "galadriel", "gigachat", "github_copilot", "gradient_ai", "heroku"}
    | {"lambda_ai", "langgraph", "maritalk", "nlp_cloud", "oci", "ollama_text", "palm", "petals", "predibase"}
    | {"recraft", "replicate", "runwayml", "sagemaker", "sagemaker_chat", "snowflake"}
    | {"text-completion-codestral", "topaz", "triton", "vertex_ai", "vertex_ai_beta", "vllm", "watsonx"}
    | {"watsonx_text"}
)
"""Providers with a protocol or a way to sign requests of their own."""
_BARE = (
    (r"claude", "anthropic"),
    (r"gemini|palm|bison", "vertex_ai"),
    (r"command|embed-|rerank-", "cohere"),
)
"""Names without a provider before a slash that LiteLLM gives to somebody else than OpenAI."""


def backend(provider: str) -> str:
    """Who asks this provider here."""
    return "anthropic" if provider in MESSAGES_DIALECT else "openai"


def split(model: str, named: str) -> tuple[str, str]:
    """Provider and the name it knows the model by, from `model` and `custom_llm_provider`."""
    first, slash, rest = model.partition("/")
    if named:
        return named, rest if slash and first == named else model
    if slash and (first in OPENAI_DIALECT or first in OTHER_DIALECT):
        return first, rest
    if slash:
        return ("", model) if first not in ("custom", "openai") else ("openai", rest)
    return next((provider for start, provider in _BARE if re.match(start, model)), "openai"), model
