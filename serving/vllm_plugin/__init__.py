"""Out-of-tree vLLM plugin: makes vLLM know the medvlm model.

``pyproject.toml`` names `register` under the entry point ``vllm.general_plugins``, so every vLLM process of an
environment in which this package is installed calls it: the API server, the engine core and each worker.
"""

ARCHITECTURE = "MedVLMForConditionalGeneration"


def register() -> None:
    """Tell transformers and vLLM about medvlm. May be called any number of times, in any process.

    The model class is named by a string and imported only where a model is built.
    """
    from vllm import ModelRegistry

    import vlm.auto  # noqa: F401  registers config, processor and image processor with the Auto classes

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, "serving.vllm_plugin.model:MedVLMForConditionalGeneration")
