"""Races: many hands on one case, frozen writers, halves that meet, two readers of one partition."""
