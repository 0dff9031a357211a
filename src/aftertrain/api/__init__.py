"""What the commands do, as calls; `aftertrain` itself offers those that users import."""
