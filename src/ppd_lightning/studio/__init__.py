"""The studio: people pick pictures, the model draws for them. Only `page` and `server` know Gradio."""
