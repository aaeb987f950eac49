"""Networks; they import torch and torchvision only, and know nothing of the service."""
