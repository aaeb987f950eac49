"""Grimace: how much pain does an animal's face show in a video, and which of its features move?"""
