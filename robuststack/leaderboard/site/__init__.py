"""The leaderboard as a page: static files that open from disk, without a server or a network."""

from robuststack.leaderboard.site.page import ASSETS, Site, build_page

__all__ = ["ASSETS", "Site", "build_page"]
