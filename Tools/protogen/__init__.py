"""What the protoc plugin is made of."""
