"""How the shipped encoder is made: crops of free imagery, two or more teachers, one student; run it as a module."""
