SUITES=[]
def run(*_): return []
