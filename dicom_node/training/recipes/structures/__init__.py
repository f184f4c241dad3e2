"""How ``structures`` is trained: its networks in the order in which they need each other."""

from __future__ import annotations

from dicom_node.training.recipes.structures.categories import CategoriesRecipe
from dicom_node.training.recipes.structures.efficientnet_b4 import CropRecipe
from dicom_node.training.recipes.structures.swin import SwinRecipe
from dicom_node.training.recipes.structures.yolo11 import Yolo11Recipe

RECIPES = (Yolo11Recipe(), SwinRecipe(), CropRecipe(), CategoriesRecipe())
