"""Who answers on the ports that creative applications share, and what to do about it.

`table` knows the ports, `survey` looks at all of them at once, and the other modules each recognize one family of
programs. All of them keep one rule: one fresh connection per question, closed afterwards whatever comes, nothing
sent that could change or hang what is on the other side.
"""
