# Of the Parameter Execute DAT: the user changed a custom parameter of the component.


def onValueChange(par, prev):
    parent().ext.LightfastExt.OnParameter(par)


def onPulse(par):
    parent().ext.LightfastExt.OnPulse(par)
