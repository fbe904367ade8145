"""Finds what is private in a text, replaces it by stable tokens, and restores it in an answer.

Pure but for one list of words; needs nothing else of the product. Each finder takes time linear in the text, whatever
it holds: what is searched for by pattern has a bounded length, and no pattern repeats what repeats.
"""
