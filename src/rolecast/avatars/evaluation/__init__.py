"""What an avatar learnt, what it forgot and what it gives away: the gate before it is served.

canaries   secrets that are planted before training, and as many that are not
loaded     a trained folder as a model: LoRA over its base, or a model of its own
losses, exposure, generate, regurgitation, style   one measurement each
verdict    figures -> passed or not, in sentences; pure
evaluate   all of them in order, kept as they come; report, plots: the page
"""
