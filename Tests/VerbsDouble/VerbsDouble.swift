import Verbs
