"""`import vlm.auto` makes transformers' Auto classes know the model. Importing it again changes nothing."""

from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
)
from transformers.models.auto import AutoModelForMultimodalLM

from vlm.configuration import MedVLMConfig, MedVLMVisionConfig
from vlm.modeling import MedVLMForConditionalGeneration, MedVLMModel
from vlm.processing import MedVLMImageProcessor, MedVLMProcessor


def register() -> None:
    """Register configuration, models, image processor and processor; safe to call again."""
    AutoConfig.register("medvlm_vision", MedVLMVisionConfig, exist_ok=True)
    AutoConfig.register("medvlm", MedVLMConfig, exist_ok=True)
    AutoModel.register(MedVLMConfig, MedVLMModel, exist_ok=True)
    # TRL 1.16 loads a checkpoint whose class is not in transformers itself with AutoModelForCausalLM
    for auto in (AutoModelForImageTextToText, AutoModelForMultimodalLM, AutoModelForCausalLM):
        auto.register(MedVLMConfig, MedVLMForConditionalGeneration, exist_ok=True)
    AutoImageProcessor.register(
        MedVLMConfig,
        image_processor_classes={"pil": MedVLMImageProcessor, "torchvision": MedVLMImageProcessor},
        exist_ok=True,
    )
    AutoProcessor.register(MedVLMConfig, MedVLMProcessor, exist_ok=True)


register()
