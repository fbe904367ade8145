"""`from slm.utils import profile_model`, as documented."""

from rolecast.avatars.documented.utils import Profile, profile_model

__all__ = ["Profile", "profile_model"]
