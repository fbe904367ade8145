"""Lists of words that the finders and judges of this package share. Each is a set, in small letters."""

from rolecast.privacy.names import COMMON

_PARTICLES = """
    van von der den de da di du la le del della dos das do al el bin ibn ben st mac mc zu zur zum of the and und
    e y
"""
PARTICLES = frozenset(_PARTICLES.split())
"""Pieces of names that are none by themselves."""
_NO_NAMES = """
    i me my you your we us he him his she her it they them dad mom mum mama papa mother father sister brother
    bro sis aunt uncle grandma grandpa wife husband boss team group family work home office school myself
    unknown user admin bot guest customer support client friend mobile phone new old mr mrs ms miss dr prof
"""
NO_NAMES = frozenset(_NO_NAMES.split())
"""What contacts are called that is nobody's name."""
_NAME_WORDS = """
    harper piper archer fletcher sawyer gardener sailor chandler usher mercer clay brook brooke river eve
    heather hazel olive rosemary fern jasmine holly laurel poppy willow aspen cedar robin jay wren martin colt
    ace rusty sandy misty skye teddy buck bud ernest lane penny victor constance patience prudence charity
    felicity verity honor honour sonny junior major sterling pierce wade ward vale abbot deacon dash flint
    garnet jasper jet jewel opal coral peach cherry apple plum clementine honey candy cookie sugar saffron bo
    beau happy bliss merry viola cat kitty bunny tiger gale guy trip skip chip dot bea mercy glory liberty
    justice royal story lyric cadence sage oak ash birch maple peony fleur belle precious treasure genesis nova
    star luna rain sunshine breeze drew tad wes sid lex con
"""
NAME_WORDS = COMMON | frozenset(_NAME_WORDS.split())
"""Words that are names as well, more of them than a request needs."""
_NEVER_SMALL = """
    may april june august hope faith art sunny summer autumn winter will can grant chance mark
"""
NEVER_SMALL = frozenset(_NEVER_SMALL.split())
"""Of those, the ones that are never a name in small letters."""
_SEASONS = """
    may april june august sunny summer autumn winter
"""
SEASONS = frozenset(_SEASONS.split())
"""Times of a year that are names as well."""
_FREQUENT = """
    the be to of and a in that have i it for not on with he as you do at this but his by from they we say her
    she or an will my one all would there their what so up out if about who get which go me when make can like
    time no just him know take people into year your good some could them see other than then now look only come
    its over think also back after use two how our work first well way even new want because any these give day
    most us is are was were been has had did does im dont cant thats youre ill ive got going gonna lol haha
    hahaha yeah yes ok okay oh hey hi thanks thank please sorry really very much too again still here where why
    let tell told said need maybe never always thing things lot bit sure right nice love great today tomorrow
    tonight yesterday morning night week home
"""
FREQUENT = frozenset(_FREQUENT.split())
"""Words that are everybody's company."""
_CALENDAR = """
    monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
    september october november december english german french spanish god jesus christmas easter
"""
CALENDAR = frozenset(_CALENDAR.split())
"""What has a capital letter and is no name."""
_NO_PASSWORDS = """
    the a an my your our his her not no in on off so too very still wrong correct incorrect right expired
    changed reset required weak strong invalid valid needed used using working broken old new ok okay fine good
    bad great same different saved stored written somewhere there here that this it what which from for with and
    or but always never just only really something anything nothing everything case sensitive annoying stupid
    hard easy long short secret private public down slow fast up out being going gonna like because stuff super
    pretty kinda actually also already about under over by at to of as is was be been have has had do does did
    done can could would should will crap trash awful terrible insane free open closed locked falsch richtig
    nicht sehr neu alt weg zu schon noch immer da hier kaputt langsam schlecht gut ein eine der die das mein
    dein abgelaufen lost gone forgotten missing better worse clean messy beautiful reviewed merged running
    compiling awesome legacy spaghetti documented tested shit ugly fixed ready set back on-call mandatory
    optional confidential shared known impossible crazy funny yours mine ours theirs
"""
NO_PASSWORDS = frozenset(_NO_PASSWORDS.split())
"""What people say of a password that is none."""
_NO_HANDLES = """
    everyone here channel all admins admin notifications stories story account accounts profile page group chat
    call calls dms reels videos posts filter filters bots server servers deck sale games e.g i.e etc. update
    updates aint isnt doesnt wasnt wont gonna gotta asap
"""
NO_HANDLES = frozenset(_NO_HANDLES.split())
"""What stands behind an `@` and in sentences about accounts, and is nobody."""
