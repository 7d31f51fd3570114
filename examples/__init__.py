"""Deployed AI tools that use Secondlook as a customer would."""
