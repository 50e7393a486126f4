"""The providers that come with Lightfast, one module each."""
