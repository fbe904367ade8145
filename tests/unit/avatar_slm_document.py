"""The snippets of Python and the commands that Avatar SLM's documentation shows, as a reader types them."""

EXTRACT = """
from slm.neo4j_data_extractor import Neo4jDataExtractor, ExtractionConfig

config = ExtractionConfig(
    neo4j_uri="bolt://localhost:7687",
    neo4j_user="neo4j",
    neo4j_password="password",
    output_dir="data/extracted"
)

extractor = Neo4jDataExtractor(config)
data_path = extractor.extract_person_conversations("John Doe")
"""
TRAIN = """
from slm.slm_trainer import SLMTrainer, TrainingConfig

config = TrainingConfig(
    model_name="john_avatar",
    data_path="data/extracted/john_doe.jsonl",
    num_epochs=10,
    batch_size=16,
    learning_rate=5e-5
)

trainer = SLMTrainer(config)
model_path = trainer.train()
"""
TUNED = (
    "config.batch_size = 32  # Increase if memory allows",
    "config.gradient_accumulation_steps = 4",
    "config.use_mixed_precision = True",
)
INFER = """
from slm.slm_inference_engine import SLMInferenceEngine, InferenceConfig

config = InferenceConfig(
    model_path="models/john_avatar",
    temperature=0.8,
    top_k=50,
    stream=True
)

engine = SLMInferenceEngine(config)

# Generate text
response = engine.generate("Hello, how are you?")

# Interactive chat
for chunk in engine.chat("Tell me about your day", stream=True):
    print(chunk, end="", flush=True)
"""
CACHE = "config.use_cache = True"
BATCH = """
from slm.slm_inference_engine import BatchInferenceEngine

batch_engine = BatchInferenceEngine(config)
responses = batch_engine.process_batch(prompts)
"""
STREAM = """
for chunk in engine.generate(prompt, stream=True):
    print(chunk, end="", flush=True)
"""
PROFILE = """
from slm.utils import profile_model

# Profile training
profile_model(trainer, num_steps=100)

# Profile inference
profile_model(engine, num_generations=50)
"""
PIPELINE = """
from examples.slm.slm_pipeline_example import AvatarSLMPipeline

# Initialize pipeline
pipeline = AvatarSLMPipeline()

# Run complete pipeline
pipeline.run_full_pipeline("John Doe")

# Or run steps individually
data_path = pipeline.extract_data("John Doe")
model_path = pipeline.train_model(data_path)
pipeline.setup_inference(model_path)
pipeline.chat_demo()
"""
DEBUG = """
import logging
logging.basicConfig(level=logging.DEBUG)
"""
COMMANDS = (
    'python3 examples/slm/slm_pipeline_example.py extract --person "John Doe"',
    "python3 examples/slm/slm_pipeline_example.py train --data-path data/extracted/john_doe.jsonl",
    "python3 examples/slm/slm_pipeline_example.py chat --model-path models/john_avatar",
    'python3 examples/slm/slm_pipeline_example.py full --person "John Doe"',
    "python3 examples/slm/slm_pipeline_example.py benchmark --model-path models/john_avatar",
)
CONFIG = """{
  "neo4j": {
    "uri": "bolt://localhost:7687",
    "username": "neo4j",
    "password": "password"
  },
  "extraction": {
    "output_dir": "data/extracted",
    "include_metadata": true,
    "max_messages": 10000,
    "date_range": {
      "start": "2023-01-01",
      "end": "2024-12-31"
    }
  },
  "training": {
    "model_name": "avatar_slm",
    "output_dir": "models",
    "epochs": 10,
    "batch_size": 16,
    "learning_rate": 5e-5,
    "warmup_steps": 100,
    "gradient_accumulation": 4,
    "max_sequence_length": 512
  },
  "inference": {
    "temperature": 0.8,
    "top_k": 50,
    "top_p": 0.95,
    "max_length": 512,
    "repetition_penalty": 1.1
  }
}
"""
