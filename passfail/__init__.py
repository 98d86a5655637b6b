"""What an exported model is, why it can be trusted, and how it answers: the library that train and serve share."""
