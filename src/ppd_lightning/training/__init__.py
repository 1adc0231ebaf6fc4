"""The LightningModule, the LightningDataModule, and what a training run needs around them."""
