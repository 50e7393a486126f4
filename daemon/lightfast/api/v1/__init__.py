"""Generated from protos/lightfast/api/v1: do not edit."""
