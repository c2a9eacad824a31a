"""placeholder"""
def forget(organisation, sha256):
    return None
